"""Requests to an application in this process, without a server."""

import asyncio
from typing import Any

import httpx
from fastapi import FastAPI


def call(app: FastAPI, method: str, path: str, **options: Any) -> httpx.Response:
    """One request; an error inside the application becomes its answer, as behind a server."""

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.request(method, path, **options)

    return asyncio.run(send())
