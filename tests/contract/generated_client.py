"""A client as another system would write it, from the generated package alone: `python generated_client.py ADDRESS`."""

import hashlib
import sys
import zlib

import grpc

from abdomenatlas.storage.v1 import storage_pb2 as pb
from abdomenatlas.storage.v1.storage_pb2_grpc import StorageServiceStub


def main(address: str) -> None:
    """Store bytes, read them back, and ask for a volume that is not there."""
    data = b"voxels" * 1000
    digest = hashlib.sha256(data).hexdigest()
    with grpc.insecure_channel(address) as channel:
        storage = StorageServiceStub(channel)
        upload = storage.CreateUpload(pb.CreateUploadRequest(sha256=digest, size_bytes=len(data))).upload
        chunk = pb.WriteUploadRequest(name=upload.name, data=data, crc32=zlib.crc32(data))
        stored = storage.WriteUpload(iter([chunk])).upload.object
        assert stored.sha256 == digest
        assert b"".join(part.data for part in storage.ReadObject(pb.ReadObjectRequest(name=stored.name))) == data
        missing = storage.GetVolume.future(pb.GetVolumeRequest(name="volumes/nobody"))
        assert missing.code() is grpc.StatusCode.NOT_FOUND
    assert not any(name.split(".")[0] == "services" for name in sys.modules)
    print("ok")


if __name__ == "__main__":
    main(sys.argv[1])
