"""An S3 store of this process, which can be taken away and brought back."""

from __future__ import annotations

import warnings

BUCKET = "locum-tests"


class S3Server:
    """One bucket on a free loopback port. Use as a context manager."""

    def __init__(self) -> None:
        self.port = 0

    def __enter__(self) -> S3Server:
        self.start()
        import boto3  # which the store has imported without a word

        self._client = boto3.client("s3", region_name="us-east-1", endpoint_url=self.url, **_KEYS)
        self._client.create_bucket(Bucket=BUCKET)
        return self

    def __exit__(self, *_: object) -> None:
        self.empty()  # all stores of a process are one
        self._client.close()
        self.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def env(self) -> dict[str, str]:
        """What an operator would set."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": _KEYS["aws_access_key_id"],
            "AWS_SECRET_ACCESS_KEY": _KEYS["aws_secret_access_key"],
            "AWS_REGION": "us-east-1",
        }

    def start(self) -> None:
        """Start, or come back where it was with all it had."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what comes with the store
            from moto.server import ThreadedMotoServer  # here: every worker collects all tests, and few need the store

        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=self.port, verbose=False)
        self._server.start()
        _, self.port = self._server.get_host_and_port()

    def stop(self) -> None:
        self._server.stop()

    def objects(self) -> set[str]:
        return {each["Key"] for each in self._client.list_objects_v2(Bucket=BUCKET).get("Contents", ())}

    def uploads(self) -> set[str]:
        """Uploads that have begun, and neither ended nor been aborted: objects nobody sees and somebody pays."""
        return {each["Key"] for each in self._uploads()}

    def _uploads(self) -> list[dict[str, str]]:
        return list(self._client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", ()))

    def put(self, name: str, content: bytes = b"x") -> None:
        """What somebody else keeps in the bucket."""
        self._client.put_object(Bucket=BUCKET, Key=name, Body=content)

    def empty(self) -> None:
        for name in self.objects():
            self._client.delete_object(Bucket=BUCKET, Key=name)
        for each in self._uploads():
            self._client.abort_multipart_upload(Bucket=BUCKET, Key=each["Key"], UploadId=each["UploadId"])


_KEYS = {"aws_access_key_id": "test-key", "aws_secret_access_key": "test-secret"}
