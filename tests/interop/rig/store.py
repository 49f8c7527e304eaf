"""Where a broker under test keeps its log: a directory, or a bucket of a MinIO that the rig starts.

The S3 side is a dozen lines of Signature Version 4 (AWS General Reference, "Signature Version 4 signing process"): enough
to make a bucket and to race a conditional PUT, and no dependency.
"""

import datetime
import hashlib
import hmac
import http.client
import os

from . import tools
from .processes import HOST, Child, accepts_connections, free_port, wait_until

BUCKET = "aquifer"
REGION = "us-east-1"
ACCESS_KEY = "interop-access"
SECRET_KEY = "interop-secret-key"


class Directory:
    """`file://` URLs below a directory of the run."""

    name = "directory"

    def __init__(self, work):
        self.work = work

    def start(self):
        pass

    def url(self, case_dir, root):
        return f"file://{os.path.join(case_dir, 'storage', root)}"

    def env(self):
        return {}

    def logs(self):
        return []


class Minio:
    """One MinIO for the whole run; each case has its own root in one bucket."""

    name = "minio"

    def __init__(self, work):
        self.data = os.path.join(work, "minio-data")
        self.log = os.path.join(work, "minio.log")
        self.port = free_port()

    def start(self):
        binary = tools.ensure_minio()
        env = dict(os.environ, MINIO_ROOT_USER=ACCESS_KEY, MINIO_ROOT_PASSWORD=SECRET_KEY)
        # CI mode: a data directory on the root disk is accepted. No browser, no calls home.
        env.update(MINIO_CI_CD="1", MINIO_BROWSER="off", MINIO_UPDATE="off", MINIO_CALLHOME_ENABLE="off")
        os.makedirs(self.data)
        argv = [binary, "server", self.data, "--address", f"{HOST}:{self.port}", "--quiet"]
        self.child = Child(argv, self.log, env=env)
        wait_until(f"MinIO has made bucket {BUCKET}", self._bucket_made, 60)

    def _bucket_made(self):
        """Readiness and the bucket in one: /minio/health/ready says yes a moment before requests stop getting 503."""
        if not self.child.running():
            raise RuntimeError(f"MinIO ended at start, see {self.log}")
        if not accepts_connections(self.port):
            return False
        try:
            status, body = self.request("PUT", f"/{BUCKET}")
        except OSError:
            return False
        if status not in (200, 409, 503):  # 409: made by a try whose answer was lost
            raise RuntimeError(f"MinIO refused to make bucket {BUCKET}: {status} {body[:300]!r}")
        return status != 503

    def url(self, case_dir, root):
        return f"s3://{BUCKET}/{os.path.basename(case_dir)}/{root}?endpoint=http://{HOST}:{self.port}&region={REGION}"

    def env(self):
        return {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}

    def logs(self):
        return [self.log]

    def request(self, method, path, body=b"", headers=None):
        """One signed request: (status, body)."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=30)
        signed = _sign(method, f"{HOST}:{self.port}", path, body, headers or {})
        connection.request(method, path, body=body, headers=signed)
        response = connection.getresponse()
        return response.status, response.read()


def _sign(method, host, path, body, headers):
    """Headers with an AWS4-HMAC-SHA256 authorization for a path without a query string."""
    now = datetime.datetime.now(datetime.timezone.utc)
    stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    payload_hash = hashlib.sha256(body).hexdigest()
    headers = {k.lower(): v for k, v in headers.items()}
    headers.update({"host": host, "x-amz-date": stamp, "x-amz-content-sha256": payload_hash})
    names = ";".join(sorted(headers))
    canonical_headers = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    canonical = "\n".join([method, path, "", canonical_headers, names, payload_hash])
    scope = f"{day}/{REGION}/s3/aws4_request"
    to_sign = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{SECRET_KEY}".encode()
    for part in (day, REGION, "s3", "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
    headers["authorization"] = f"AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/{scope}, SignedHeaders={names}, Signature={signature}"
    return headers
