"""What schemathesis does not know by itself: how to send a tar."""

import io
import tarfile

import schemathesis


@schemathesis.serializer("application/x-tar")
def tar(context, value):
    """As many bodies that are none as tars of one file, with a name nobody would give it."""
    data = value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")
    if len(data) % 2:
        return {"data": data}
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as files:
        entry = tarfile.TarInfo(data[:40].decode("latin-1"))
        entry.size = len(data)
        files.addfile(entry, io.BytesIO(data))
    return {"data": archive.getvalue()}
