"""In place of a replica's part. It is pickled by value: Ray's processes cannot import what tests import."""

import asyncio
import os

from boxwright.scale.relay import Told


class Handler:
    """It takes its time, and one picture ends it."""

    async def ask(self, asked):
        await asyncio.sleep(0.2)  # an end at once is before Ray Serve has heard that the request arrived
        if asked.body == b"poison":
            os._exit(1)
        return Told(200, (), b"answer")
