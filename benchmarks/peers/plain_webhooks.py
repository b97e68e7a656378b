"""What anybody would write first: a FastAPI handler on a psycopg pool that inserts a row for each request."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool

pool: AsyncConnectionPool[Any] = AsyncConnectionPool(os.environ["DATABASE_URL"], min_size=8, max_size=8, open=False)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
    await pool.open(wait=True)
    yield
    await pool.close()


app = FastAPI(lifespan=lifespan)


@app.post("/hooks/orders", status_code=202)
async def take(request: Request) -> dict[str, Any]:
    """Insert the payload, and answer once it is committed."""
    payload = await request.json()
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "INSERT INTO plain_webhooks (webhook_id, payload) VALUES (%s, %s) RETURNING id",
            (request.headers["webhook-id"], Jsonb(payload)),
        )
        row = await cursor.fetchone()
    return {"id": row[0] if row else None}
