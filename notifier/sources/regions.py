"""The endpoints of GaussDB and its neighbours by region, for the regions that the official SDK knows."""

import difflib
from collections.abc import Iterable, Mapping

from notifier.core.errors import ConfigurationError

_OLDER = (
    "af-south-1 ap-southeast-1 ap-southeast-2 ap-southeast-3 ap-southeast-4 cn-east-3 cn-north-2 cn-north-4 cn-north-9"
    " cn-south-1 cn-south-2 cn-south-4 cn-southwest-2 la-north-2 la-south-2 ru-northwest-2 sa-brazil-1"
)
_NEWER = "af-north-1 ap-southeast-5 cn-east-2 cn-east-4 cn-east-5 cn-north-12 me-east-1 tr-west-1"


def _hosts(pattern: str, regions: str) -> dict[str, str]:
    return {region: pattern.format(region=region) for region in regions.split()}


# In the older regions gaussdb.{region} is another product's host: never fall back from one pattern to the other.
ENDPOINTS: Mapping[str, str] = {
    **_hosts("https://gaussdb-opengauss.{region}.myhuaweicloud.com", _OLDER),
    **_hosts("https://gaussdb.{region}.myhuaweicloud.com", _NEWER),
}
"""Region to the endpoint of GaussDB."""


WITHOUT_CLOUD_EYE = frozenset({"ru-northwest-2"})
"""Regions of GaussDB whose Cloud Eye is not known."""


def gaussdb_endpoint(region: str) -> str:
    """Return the endpoint of a region. Raises ConfigurationError that names near regions and the remedy."""
    try:
        return ENDPOINTS[region]
    except KeyError:
        raise ConfigurationError(_unknown_region(region, ENDPOINTS)) from None


def iam_endpoint(region: str) -> str:
    """Return the endpoint of IAM in a region."""
    return _companion("iam", region)


def cts_endpoint(region: str) -> str:
    """Return the endpoint of Cloud Trace in a region. Every region of GaussDB has one."""
    return _companion("cts", region)


def ces_endpoint(region: str) -> str:
    """Return the endpoint of Cloud Eye in a region. Raises ConfigurationError for one of `WITHOUT_CLOUD_EYE`."""
    if region in WITHOUT_CLOUD_EYE:
        raise ConfigurationError(f"no endpoint of Cloud Eye is known for region {region!r}. Leave out cloud_eye.")
    return _companion("ces", region)


def _companion(service: str, region: str) -> str:
    """Return the endpoint of another service. The European site has its own domain."""
    domain = "myhuaweicloud.eu" if region.startswith("eu-west-1") else "myhuaweicloud.com"
    return f"https://{service}.{region}.{domain}"


def _unknown_region(region: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(region, known, n=3)
    hint = f"Did you mean {' or '.join(near)}?" if near else f"Known regions: {', '.join(sorted(known))}."
    return f"no endpoint is known for region {region!r}. {hint} For any other region give its endpoint: https://…"
