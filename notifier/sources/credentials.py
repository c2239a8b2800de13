"""Build the login of a source, and find the keys of the default chain."""

import configparser
from collections.abc import Mapping
from pathlib import Path

from notifier.core.errors import ConfigurationError
from notifier.http import HttpClient
from notifier.http.huawei_signature import Credentials
from notifier.ports import Clock
from notifier.settings.explain import find_non_ascii
from notifier.sources.cloud_settings import AkSk, AnyAuth, DefaultChain, EcsAgency, Token
from notifier.sources.huawei_auth import AkSkLogin, CloudLogin, EcsAgencyLogin, TokenLogin
from notifier.sources.regions import iam_endpoint


def build_login(
    auth: AnyAuth,
    *,
    region: str,
    project_id: str,
    where: str,
    http: HttpClient,
    clock: Clock,
    environ: Mapping[str, str],
) -> CloudLogin:
    """Return the configured login. Raises ConfigurationError for a credentials file that cannot be read.

    Args:
        auth: as configured.
        region: whose IAM issues tokens, unless `auth` names another one.
        project_id: the project that a token is for.
        where: beginning of its errors.
        http: client for the calls that issue tokens or keys.
        clock: gives the time of signatures.
        environ: environment in which the default chain finds keys.
    """
    match auth:
        case AkSk():
            token = auth.security_token.get_secret_value() if auth.security_token else None
            secret = auth.secret_key.get_secret_value()
            found = Credentials(access_key=auth.access_key, secret_key=secret, security_token=token)
            return AkSkLogin(found, clock)
        case Token():
            return TokenLogin(
                http=http,
                where=where,
                endpoint=auth.iam_endpoint or iam_endpoint(region),
                domain=auth.domain,
                username=auth.username,
                password=auth.password.get_secret_value(),
                project_id=project_id,
                clock=clock,
            )
        case EcsAgency(metadata_url=url):
            return EcsAgencyLogin(http=http, where=where, metadata_url=url, clock=clock)
        case DefaultChain(metadata_url=url):
            if keys := default_credentials(environ):
                return AkSkLogin(keys, clock)
            return EcsAgencyLogin(http=http, where=where, metadata_url=url, clock=clock, hint=_NO_KEYS_HINT)


_NO_KEYS_HINT = (
    "Neither HUAWEICLOUD_SDK_AK and HUAWEICLOUD_SDK_SK nor ~/.huaweicloud/credentials hold keys:"
    " set them, or give the ECS instance an agency."
)


def default_credentials(environ: Mapping[str, str]) -> Credentials | None:
    """Return the keys of the environment, else of the SDK's credentials file, else None.

    Raises ConfigurationError for a credentials file that cannot be read, and for keys with characters that no service
    issues: each request with such a key counts towards the lock of the access key.
    """
    names = ("HUAWEICLOUD_SDK_AK", "HUAWEICLOUD_SDK_SK", "HUAWEICLOUD_SDK_SECURITY_TOKEN")
    found = _credentials(environ, names, where="environment variable ")
    path = _credentials_file(environ)
    return found or (_read_credentials_file(path) if path else None)


def _credentials(values: Mapping[str, str], names: tuple[str, str, str], *, where: str) -> Credentials | None:
    found = {name: values.get(name, "").rstrip("\r\n") for name in names}
    access, secret, token = found.values()
    if not access or not secret:
        return None
    for name, value in found.items():
        if wrong := find_non_ascii(value):
            raise ConfigurationError(f"{where}{name}: {wrong}")
    return Credentials(access_key=access, secret_key=secret, security_token=token or None)


def _credentials_file(environ: Mapping[str, str]) -> Path | None:
    if named := environ.get("HUAWEICLOUD_SDK_CREDENTIALS_FILE"):
        return Path(named)
    home = environ.get("HOME") or environ.get("USERPROFILE")
    usual = Path(home) / ".huaweicloud" / "credentials" if home else None
    return usual if usual and usual.is_file() else None


def _read_credentials_file(path: Path) -> Credentials | None:
    parser = configparser.ConfigParser(interpolation=None)  # a secret key may contain %
    try:
        parser.read_string(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    except (configparser.Error, UnicodeDecodeError):
        # `from None`: the parser's own message quotes the line, and the line may hold the secret.
        raise ConfigurationError(f"{path}: not an INI file with a [basic] section that holds ak and sk") from None
    section = parser["basic"] if parser.has_section("basic") else {}
    return _credentials(section, ("ak", "sk", "security_token"), where=f"{path}: ")
