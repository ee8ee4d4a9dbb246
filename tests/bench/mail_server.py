"""A mail server that misbehaves: ``python -m tests.bench.mail_server BEHAVIOUR PORT``."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from aiosmtpd.smtp import SMTP

SLOW = 0.5  # seconds
BEHAVIOURS = ("answers", "hangs", "refuses", "takes 500 ms", "cuts")


class Server(SMTP):
    """aiosmtpd's server, which can close the connection in the middle of a mail."""

    behaviour = ""

    async def smtp_DATA(self, arg: str) -> None:  # noqa: N802 - aiosmtpd's name
        if self.behaviour == "cuts":
            self.transport.abort()  # type: ignore[union-attr]
            return
        await super().smtp_DATA(arg)


class Taker:
    """Accepts every mail and discards it."""

    def __init__(self, delay: float) -> None:
        self.delay = delay

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        await asyncio.sleep(self.delay)
        return "250 OK"


async def main(behaviour: str, port: int) -> None:
    loop = asyncio.get_running_loop()
    Server.behaviour = behaviour
    taker = Taker(SLOW if behaviour == "takes 500 ms" else 0)
    made = asyncio.Protocol if behaviour == "hangs" else lambda: Server(taker, hostname="bench")
    async with await loop.create_server(made, "127.0.0.1", port) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
