"""A Slack channel posted to through an incoming webhook, which returns no message id to edit or reply to."""

from collections.abc import Sequence

from notifier.channels.base import Json, encode_json
from notifier.channels.reply_conditions import ParsedReply
from notifier.channels.reply_rules import says_failed
from notifier.core.delivery import Delivery, Outcome
from notifier.http import HttpError, partial_reply
from notifier.integrations.slack.api import MAX_API_REPLY, SlackResponse
from notifier.integrations.slack.errors import is_failure, remedy_of
from notifier.integrations.slack.sender import SlackSender, final_outcome
from notifier.ports import CheckResult


class SlackWebhookChannel(SlackSender):
    """Posts to the channel of one incoming webhook."""

    async def attempt(self, delivery: Delivery) -> Outcome:
        """Post once."""
        end = self.deadline_at(self.settings.timeout.total_seconds())
        return final_outcome(await self.post_with_fallback(self._post, self.stored_message(delivery), end))

    async def check_slack(self, deadline: float) -> Sequence[CheckResult]:
        """Post an empty text, which a working webhook refuses."""
        what, response = "Slack webhook", await self._exchange_json({"text": ""}, deadline)
        if response.code in ("no_text", "invalid_payload") or response.ok:
            return (CheckResult(ok=True, what=what, detail="answers"),)
        remedy = remedy_of(response.code, "check the URL against the app's page Incoming Webhooks")
        return (CheckResult(ok=False, what=what, detail=response.failure, remedy=remedy),)

    async def _post(self, message: Json, deadline: float) -> SlackResponse:
        return await self._exchange_json({key: value for key, value in message.items() if key != "metadata"}, deadline)

    async def _exchange_json(self, message: Json, deadline: float) -> SlackResponse:
        url = self.settings.webhook_url
        try:
            reply = await self.context.http.exchange(
                "POST",
                url.get_secret_value() if url else "",
                headers={"content-type": "application/json"},
                content=encode_json(message),
                deadline=deadline,
                max_bytes=MAX_API_REPLY,
            )
        except HttpError as error:
            reply = partial_reply(error)
        data = _as_web_api(ParsedReply(reply.status, reply.headers, reply.body))
        return SlackResponse(status=reply.status, headers=reply.headers, data=data, body=reply.body)


def _as_web_api(reply: ParsedReply) -> Json:
    """Return a webhook's reply in the form of the Web API: any 2xx is a success that does not report a failure."""
    data = reply.data if isinstance(reply.data, dict) else {"error": reply.text}
    failed = bool(data.get("error")) if isinstance(reply.data, dict) else is_failure(reply.text)
    ok = reply.succeeded and not (failed or reply.is_page or says_failed(reply))
    return {"ok": True} if ok else data | {"ok": False}
