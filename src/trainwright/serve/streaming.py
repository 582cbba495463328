"""Answers that come in parts, and what becomes of a client that stops reading them."""

import asyncio
from collections.abc import AsyncGenerator

from fastapi.responses import StreamingResponse
from starlette.types import Message, Send

STALLED_S = 60.0
"""How long a client may leave a part of an answer untaken: then it is given up, and what it held is free again."""


class Stream(StreamingResponse):
    """A stream that waits for its client, and not for ever: one that stops reading is cut off."""

    async def stream_response(self, send: Send) -> None:
        """Send part after part. A connection that is left in the middle is closed by the server around it."""

        async def send_in_time(message: Message) -> None:
            async with asyncio.timeout(STALLED_S):
                await send(message)

        try:
            await super().stream_response(send_in_time)
        except TimeoutError:
            if isinstance(self.body_iterator, AsyncGenerator):
                await self.body_iterator.aclose()
