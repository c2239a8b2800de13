"""The Markdown of Mattermost and of Rocket.Chat.

Mattermost takes a backslash before markup. Rocket.Chat shows backslashes, so that its markup is replaced by characters
that look alike.
"""

import re

from notifier.channels.markup import ADDRESS, EMOJI, Markdown

MATTERMOST = Markdown(
    active=re.compile(rf"[@~<&$]|{EMOJI}|{ADDRESS}"),
    replaced={char: f"\\{char}" for char in r"\`*_{}[]()#+!|>-"},
    strong=("**", "**"),
)
ROCKETCHAT = Markdown(
    # A colon or a semicolon may begin an emoticon, a plus sign a telephone number, a backslash a formula.
    active=re.compile(rf"[@#&\[\]\\]|[:;=](?=[^\s\w])|:(?=[^\W\d])|\+(?=[(\d])|{EMOJI}|{ADDRESS}"),
    replaced={"*": "∗", "_": "ˍ", "~": "∼", "<": "‹", ">": "›", "|": "❘", "$": "＄"},
    # The server looks for mentions in the whole text, code included.
    active_in_code=re.compile("[@#]"),
    strong=("*", "*"),
)
