"""Objects in S3. boto3 is imported when it is first used: it takes long to load, and few nodes need it.

Only the credentials of the request count, never those that the machine may have. Where S3 is, boto3 decides: at Amazon,
unless the environment of the node says otherwise (AWS_ENDPOINT_URL_S3).
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile
from typing import Any, BinaryIO

from frontend.downloads import Limited
from frontend.errors import Refused

#: The members of a request's `s3`, with the words that messages have for them.
MEMBERS = {
    "aws_access_key_id": "aws access key id",
    "aws_secret_access_key": "aws secret access key",
    "bucket": "bucket",
    "key": "key",
    "region": "region",
}


@contextmanager
def opened(place: dict[str, str]) -> Iterator[BinaryIO]:
    """The content of an object; 400 with the reason why there is none."""
    with _failures():
        body = _client(place).get_object(Bucket=place["bucket"], Key=place["key"])["Body"]
    try:
        with _failures():
            yield io.BufferedReader(Limited(body))
    finally:
        body.close()


def store(place: dict[str, str], key: str, pieces: Iterable[bytes]) -> None:
    """Make an object of these pieces, which wait in a file until all are there: a failed export leaves none."""
    with TemporaryFile() as spool:
        for piece in pieces:
            spool.write(piece)
        spool.seek(0)
        with _failures():
            _client(place).upload_fileobj(spool, place["bucket"], key)


def _client(place: dict[str, str]) -> Any:
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3",
        aws_access_key_id=place["aws_access_key_id"],
        aws_secret_access_key=place["aws_secret_access_key"],
        region_name=place["region"],
        config=Config(connect_timeout=10, read_timeout=60, retries={"max_attempts": 3}),
    )


@contextmanager
def _failures() -> Iterator[None]:
    """What S3 and the way there refuse, as the client's matter."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (Boto3Error, BotoCoreError, ClientError) as problem:
        raise Refused(400, f"S3: {problem}") from problem
