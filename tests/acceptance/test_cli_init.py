"""`notifier init` on a terminal: each answer is judged when it is given, and none is lost."""

from __future__ import annotations

import os
import pty
import sys
from pathlib import Path

import pytest

from notifier.cli.init import split_addresses
from notifier.config.config import Config
from notifier.config.loading import load

PROJECT = "0611f1bd8b00d5d32f17c017f15b599f"
SECRETS = {
    "HUAWEICLOUD_SDK_AK": "AK",
    "HUAWEICLOUD_SDK_SK": "SK",
    "HUAWEICLOUD_IAM_PASSWORD": "p",
    "SLACK_BOT_TOKEN": "xoxb-1",
    "WECOM_WEBHOOK_URL": "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=k",
    "SMTP_PASSWORD": "p",
    "WEBHOOK_SECRET": "whsec_" + "A" * 32,
}


def converse(folder: Path, *answers: str, args: tuple[str, ...] = ()) -> tuple[int, str]:
    """Run `init` on a terminal, answer its prompts in turn, and return its exit code and all that was shown."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder)
        os.environ["TERM"] = "dumb"
        os.execv(sys.executable, [sys.executable, "-c", "from notifier.cli import main; main()", "init", *args])  # noqa: S606 - the program itself
    shown, left = "", [*answers]
    while piece := _read(terminal):
        shown += piece
        if shown.endswith(": "):
            os.write(terminal, f"{left.pop(0)}\n".encode() if left else b"\x04")  # the end of what is typed
            shown += "\0"  # no second answer to the same prompt
    _, status = os.waitpid(child, 0)
    os.close(terminal)
    assert not left
    return os.waitstatus_to_exitcode(status), shown.replace("\0", "").replace("\r\n", "\n")


def _read(terminal: int) -> str:
    try:
        return os.read(terminal, 65536).decode()
    except OSError:  # the end of a terminal
        return ""


def written(folder: Path) -> Config:
    return load(folder / "notifier.yaml", SECRETS)


def test_a_wrong_answer_is_asked_for_again_with_the_reason(tmp_path: Path) -> None:
    mail = ("a@b.example, nope", "a@b.example, 王伟 <c@d.example>")
    code, shown = converse(
        tmp_path,
        *("Cn north", "cn-nort-4", "", "cn-north-4"),
        *("bad id!", PROJECT),
        *("tokn", "token", "", "account", "user"),
        "C0GAUSS",
        *("wecm", "wecom"),
        *mail,
        *("smtp.b.example:587x", "smtp.b.example", "nobody", "ops@b.example", "mailer"),
        *("htp://x", "https://tickets.example.com/hook"),
        *("prod cn", "prod-cn"),
        *("fr", "zh"),
        *("Asia/Shangai", "Asia/Shanghai"),
    )
    assert code == 0
    for reason in (
        "Not accepted: must be of lower-case letters, digits and -",
        "Did you mean cn-north-4",
        "Not accepted: must be of letters, digits, - and _; usually it is 32 hexadecimal digits.",
        "Not accepted: 'tokn'. Did you mean token?",
        "This is required.",
        "Not accepted: 'wecm'. Did you mean wecom?",
        "'nope' is not a mail address",
        "'587x' is not a port",
        "'nobody' is not a mail address",
        "must be a URL such as https://host/path.",
        "Not accepted: must be one of en, zh.",
        "Did you mean Asia/Shanghai?",
    ):
        assert reason in shown
    config = written(tmp_path)
    assert (config.sources[0].name, config.language, config.timezone) == ("prod-cn", "zh", "Asia/Shanghai")
    assert [channel.name for channel in config.channels] == ["console", "slack", "wecom", "email", "webhook"]
    assert "王伟" in repr(config.channels[3])


def test_pressing_enter_gives_a_configuration_that_works(tmp_path: Path) -> None:
    code, _ = converse(tmp_path, "", PROJECT, *[""] * 8)
    assert code == 0
    assert [channel.kind for channel in written(tmp_path).channels] == ["console"]


def test_an_unknown_region_is_asked_for_its_address(tmp_path: Path) -> None:
    code, _ = converse(
        tmp_path, "xx-moon-1", "gaussdb.example.com", "xx-moon-1", "https://g.example.com", PROJECT, *[""] * 8
    )
    assert code == 0
    assert written(tmp_path).sources[0].region == "xx-moon-1"


def test_a_mail_server_without_a_login_is_given_none(tmp_path: Path) -> None:
    args = ("--region", "cn-north-4", "--mail-to", "a@b.example,c@b.example")
    code, shown = converse(tmp_path, PROJECT, "", "smtp.b.example", "", "", "", "", "", args=args)
    assert code == 0
    assert "[GaussDB notifier <gaussdb@b.example>]" in shown
    assert "SMTP_PASSWORD" not in (tmp_path / "notifier.yaml").read_text("utf-8")
    assert "c@b.example" in repr(written(tmp_path).channels[1])


def test_a_wrong_option_is_named_before_any_question(tmp_path: Path) -> None:
    code, shown = converse(tmp_path, args=("--region", "cn-north-4", "--timezone", "Mars/Base"))
    assert code == 2
    assert "error: --timezone: no time zone is called 'Mars/Base'" in shown
    assert not (tmp_path / "notifier.yaml").exists()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ()),
        ("a@b.example", ("a@b.example",)),
        ("a@b.example c@d.example", ("a@b.example", "c@d.example")),
        ("a@b.example, c@d.example;e@f.example", ("a@b.example", "c@d.example", "e@f.example")),
        ("a@b.example，c@d.example、e@f.example", ("a@b.example", "c@d.example", "e@f.example")),
        ("王 伟 <a@b.example>, c@d.example", ("王 伟 <a@b.example>", "c@d.example")),
    ],
)
def test_mail_addresses_may_be_separated_as_people_do(text: str, found: tuple[str, ...]) -> None:
    assert split_addresses(text) == found
