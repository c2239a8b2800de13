"""A channel to a DingTalk group through the robot of an enterprise's own app."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from notifier.channels.access_tokens import AccessToken, stated_token
from notifier.channels.base import encode_json, json_body, stored_body
from notifier.channels.http_chat import ChatRequest
from notifier.channels.reply_conditions import ParsedReply, value_at
from notifier.channels.templates import FilledTemplate
from notifier.channels.token_chat import TokenChat
from notifier.core.delivery import Body, Delivered, Delivery
from notifier.integrations.dingtalk.messages import DINGTALK, DingTalkLayout
from notifier.integrations.dingtalk.settings import DingTalkSettings
from notifier.ports import CheckResult, RenderRequest

_UNAUTHORIZED = 401
_TOKEN_HEADER = "x-acs-dingtalk-access-token"  # noqa: S105 - the name of a header


class DingTalkAppChannel(TokenChat[DingTalkSettings]):
    """Posts to one group. A message cannot be changed later."""

    kind = "dingtalk"
    markup = DINGTALK
    tables = ("dingtalk-app",)
    credentials = "app_key and app_secret"
    replies_as = "robot"
    not_valid = "check app_key, app_secret and api_url, and the permission qyapi_robot_sendmsg of the app"
    elsewhere = "api_url is the address of something else, or a login protects the network: check it from this host"
    storm_size = 200
    storm_room = 3_500

    def compose(self, request: RenderRequest, filled: FilledTemplate) -> Body:
        """Return the template and its parameters. Robot and group are added when it is sent."""
        message = DingTalkLayout(self.context.formatter).app_message(request, filled)
        return json_body(message)

    @property
    def address(self) -> str:
        """URL of the API."""
        return f"{self.settings.api_url}/v1.0/robot/groupMessages/send"

    def request(self, delivery: Delivery) -> ChatRequest:
        """Return the request with the robot and the group of the settings."""
        to = {"robotCode": self.settings.robot_code, "openConversationId": self.settings.conversation_id}
        return ChatRequest(url=self.address, content=encode_json(json.loads(stored_body(delivery).content) | to))

    def delivered(self, reply: ParsedReply) -> Delivered | None:
        """Return the key of the posted message."""
        key = value_at(reply.data, "processQueryKey")
        return Delivered(key[:200]) if reply.succeeded and isinstance(key, str) and key else None

    # -- access tokens --

    def token_request(self) -> ChatRequest:
        """Return the request for a token."""
        secret = self.settings.app_secret.get_secret_value() if self.settings.app_secret else ""
        content = encode_json({"appKey": self.settings.app_key, "appSecret": secret})
        return ChatRequest(url=f"{self.settings.api_url}/v1.0/oauth2/accessToken", content=content)

    def token_in(self, reply: ParsedReply) -> AccessToken | None:
        """Return the token in a reply."""
        if not reply.succeeded:
            return None
        return stated_token(value_at(reply.data, "accessToken"), value_at(reply.data, "expireIn"))

    def refuses_token(self, reply: ParsedReply) -> bool:
        """Return whether a token is not valid (any more)."""
        code = value_at(reply.data, "code")
        return reply.status == _UNAUTHORIZED or (isinstance(code, str) and "InvalidAuthentication" in code)

    def authorized(self, request: ChatRequest, token: str) -> ChatRequest:
        """Return a request with a token in its header."""
        return replace(request, headers={**request.headers, _TOKEN_HEADER: token})

    async def check(self) -> Sequence[CheckResult]:
        """Fetch an access token: that proves the key and the secret. Only a message proves the robot and the group."""
        if (failed := await self.check_token("DingTalk app")) is not None:
            return (failed,)
        token = CheckResult(ok=True, what="DingTalk app", detail="the key and the secret are valid")
        detail = f"only a message proves that the robot is in it: notifier test-send {self.name}"
        return token, CheckResult(ok=True, what="DingTalk group", detail=detail, proven=False)
