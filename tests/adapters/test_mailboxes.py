"""Mail addresses with names: whatever is written in the configuration arrives in any reader as that."""

from __future__ import annotations

import email
import email.header
import email.policy
import email.utils
import re
from base64 import b64decode
from email.message import EmailMessage

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from notifier.integrations.email.mailboxes import Mailbox, format_header, parse_mailbox

NAMES = st.one_of(
    st.just(""),
    st.sampled_from(["王伟", "Doe, John", "DBA (night)", 'The "A" team', "J. Doe", "a@b", "=?utf-8?q?x?=", "O'Neil;"]),
    st.text("abc,()\"\\.@<>[]:;'=?_ 王伟运维éß😀", min_size=1, max_size=150),
    st.text(
        st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp", "Cf", "Zs"), include_characters=" "), max_size=100
    ),
    st.sampled_from(["x" * 100, "Night shift, team A (DBA) " * 6, "数据库运维值班组" * 15]),
).map(lambda name: " ".join(name.split()))
ADDRESSES = st.from_regex(r"[a-z]{1,20}(\.[a-z0-9+_-]{1,30})?@[a-z]{1,20}\.example", fullmatch=True)
MAILBOXES = st.builds(Mailbox, name=NAMES, address=ADDRESSES)
LISTS = st.lists(MAILBOXES, min_size=1, max_size=40)


def mail_to(mailboxes: list[Mailbox]) -> bytes:
    mail = EmailMessage(policy=email.policy.SMTP.clone(refold_source="none"))
    mail.set_raw("From", format_header("From", mailboxes[:1]))
    mail.set_raw("To", format_header("To", mailboxes))
    mail.set_content("x")
    return mail.as_bytes()


def by_the_new_parser(content: bytes) -> list[Mailbox]:
    read = email.message_from_bytes(content, policy=email.policy.default)
    assert not read["To"].defects
    return [Mailbox(name=one.display_name, address=one.addr_spec) for one in read["To"].addresses]


def by_the_old_parser(content: bytes) -> list[Mailbox]:
    text = str(email.message_from_bytes(content)["To"])
    return [
        Mailbox(name=str(email.header.make_header(email.header.decode_header(name))), address=address)
        for name, address in email.utils.getaddresses([text.replace("\r\n", "")])
    ]


def by_hand(content: bytes) -> list[Mailbox]:
    """Read a header as RFC 5322 and RFC 2047 say: unfold, cut at commas outside of quotes, take quotes off, decode."""
    (folded,) = re.findall(rb"^To: ((?:[^\r\n]|\r\n[ \t])*)", content, re.MULTILINE)
    line = folded.decode("ascii").replace("\r\n", "")
    words = re.findall(r'"[^"]*"|[^",\s]+|,', line)
    found, current = [], list[str]()
    for word in [*words, ","]:
        if word != ",":
            current.append(word)
            continue
        *name, address = current
        found.append(Mailbox(name=" ".join(map(decoded, name)), address=address.strip("<>")))
        current = []
    return found


def decoded(word: str) -> str:
    encoded = re.fullmatch(r"=\?utf-8\?b\?([A-Za-z0-9+/=]*)\?=", word)
    return b64decode(encoded[1]).decode() if encoded else word.strip('"')


@given(LISTS)
@example([Mailbox(name="王伟", address="a@corp.example"), Mailbox(address="b@corp.example")])
@example(
    [
        Mailbox(
            name="Database team of the night shift, Shenzhen and Guiyang (on call), no replies please",
            address="a@b.example",
        )
    ]
)
@pytest.mark.parametrize("read", [by_the_new_parser, by_the_old_parser, by_hand])
def test_every_reader_finds_the_same_list(read: object, mailboxes: list[Mailbox]) -> None:
    assert callable(read)
    assert read(mail_to(mailboxes)) == mailboxes


@given(LISTS)
def test_lines_are_ascii_and_no_longer_than_servers_take(mailboxes: list[Mailbox]) -> None:
    lines = mail_to(mailboxes).split(b"\r\n")
    assert max(map(len, lines)) <= 998
    assert all(line.isascii() and b"\n" not in line and b"\r" not in line for line in lines)


@given(LISTS)
def test_plain_names_are_folded_at_78_characters(mailboxes: list[Mailbox]) -> None:
    short = [Mailbox(name="Ops, night (DBA) " * 5, address=one.address) for one in mailboxes]
    assert max(map(len, format_header("To", short).split("\r\n"))) <= 78


@given(MAILBOXES)
def test_what_people_write_is_read_back(mailbox: Mailbox) -> None:
    quoted = mailbox.name.replace("\\", "\\\\").replace('"', '\\"')
    assert parse_mailbox(f'"{quoted}" <{mailbox.address}>') == mailbox
    if not mailbox.name.startswith('"'):
        assert parse_mailbox(f"{mailbox.name} <{mailbox.address}>") == mailbox
    assert parse_mailbox(f" {mailbox.address} ") == Mailbox(address=mailbox.address)


@pytest.mark.parametrize(
    "text",
    [
        "nobody",
        "@b.example",
        "a@b.example, c@d.example",
        "a..b@c.example",
        "a@b@c.example",
        "A <a@b.example",
        "用户@b.example",
        "A\r\nBcc: x <a@b.example>",
        "A\u2028 <a@b.example>",
        "x" * 65 + "@b.example",
        "a b@c.example",
        "a@b.example>",
    ],
)
def test_what_is_no_address_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a mail address; write user@example\.com or Name <user@example\.com>"):
        parse_mailbox(text)


def test_a_name_that_fits_in_no_line_is_refused() -> None:
    with pytest.raises(ValueError, match="longer than 480 bytes; shorten it"):
        parse_mailbox("数" * 161 + " <a@b.example>")
