"""What happens at the same time: reads while an object is overwritten or deleted, completions and parts, creations and deletions."""

import concurrent.futures
import threading

from botocore.exceptions import ClientError

import sse

MIB = 1 << 20


def code(call, **arguments):
    """What a call answered: its code, or nothing when it succeeded."""
    try:
        call(**arguments)
    except ClientError as error:
        return error.response["Error"]["Code"]
    return None


def test_a_read_sees_one_version_whole_while_the_object_is_overwritten(s3, bucket):
    names = {"Bucket": bucket, "Key": "k"}
    bodies = [sse.noise(size, 3) for size in (100, 20_000, 50_000, 400_000)]
    s3.put_object(**names, Body=bodies[0])
    stop = threading.Event()

    def write(number):
        while not stop.is_set():
            # One of the writers writes in parts.
            sse.upload(s3, bucket, "k", bodies[number], "s3", [len(bodies[number])] if number == 3 else None)

    def read(_):
        for _ in range(150):
            assert s3.get_object(**names)["Body"].read() in bodies

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        writers = [pool.submit(write, number) for number in range(4)]
        readers = [pool.submit(read, number) for number in range(4)]
        try:
            for reader in readers:
                reader.result()
        finally:
            stop.set()
        for writer in writers:
            writer.result()


def test_a_download_that_began_ends_although_the_object_is_deleted(server, s3, bucket):
    names = {"Bucket": bucket, "Key": "k"}
    body = sse.noise(24 * MIB, 4)
    sse.upload(s3, bucket, "k", body, "s3", [8 * MIB] * 3)
    answer = s3.get_object(**names)
    got = answer["Body"].read(1000)
    s3.delete_object(**names)
    assert got + answer["Body"].read() == body
    assert code(s3.get_object, **names) == "NoSuchKey"


def test_parts_that_arrive_while_an_upload_is_completed_change_nothing(s3, bucket):
    for attempt in range(15):
        names = {"Bucket": bucket, "Key": f"k{attempt}"}
        upload = s3.create_multipart_upload(**names)["UploadId"]
        part = lambda body: s3.upload_part(**names, UploadId=upload, PartNumber=1, Body=body)
        first, late = b"first" * 1000, b"late" * 1000
        etag = part(first)["ETag"]
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            others = [pool.submit(code, s3.upload_part, **names, UploadId=upload, PartNumber=1, Body=late) for _ in range(3)]
            done = code(s3.complete_multipart_upload, **names, UploadId=upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]})
            for other in others:
                assert other.result() in (None, "NoSuchUpload", "OperationAborted")
        if done is None:
            assert s3.get_object(**names)["Body"].read() == first
        else:
            assert done in ("InvalidPart", "NoSuchUpload", "OperationAborted")


def test_a_bucket_is_never_deleted_with_an_object_that_was_acknowledged(s3):
    for attempt in range(25):
        name = f"race-{attempt}"
        s3.create_bucket(Bucket=name)
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            writes = [pool.submit(code, s3.put_object, Bucket=name, Key=f"k{n}", Body=b"x" * 40_000 * n) for n in range(3)]
            deleted = code(s3.delete_bucket, Bucket=name)
            written = [write.result() for write in writes]
        assert set(written) <= {None, "NoSuchBucket"}
        if deleted is None:
            assert None not in written, "an acknowledged object went with its bucket"
        else:
            assert deleted == "BucketNotEmpty"
            assert s3.list_objects_v2(Bucket=name)["KeyCount"] == written.count(None)


def test_of_many_first_writers_one_wins(s3, bucket):
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        outcomes = list(pool.map(lambda n: code(s3.put_object, Bucket=bucket, Key="k", Body=bytes(n), IfNoneMatch="*"), range(16)))
    assert outcomes.count(None) == 1 and set(outcomes) == {None, "PreconditionFailed"}
