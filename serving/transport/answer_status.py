"""The status of an answer, noted on its way out."""

from starlette.types import Message, Send


class AnswerStatus:
    """The status that an answer began with; None until it begins."""

    def __init__(self) -> None:
        self.value: int | None = None

    def noted_by(self, send: Send) -> Send:
        """Return a `send` that notes the status and passes everything on."""

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.value = message["status"]
            await send(message)

        return noting
