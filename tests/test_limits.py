"""Numbers that an operator limits: buckets of an account, uploads in progress in a bucket."""

import concurrent.futures

import pytest
from botocore.exceptions import ClientError

from harness import Server

LIMITS = "[s3]\nmax_buckets_per_account = 5\nmax_uploads_per_bucket = 3\n"


@pytest.fixture(scope="module")
def limited(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("limits"), extra_config=LIMITS).start()
    yield server
    server.stop()


def refused(call, *arguments, **parameters):
    with pytest.raises(ClientError) as caught:
        call(*arguments, **parameters)
    answer = caught.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"], answer["Error"]["Message"]


def test_an_account_has_so_many_buckets_and_no_more(limited):
    s3, other = limited.client(), limited.client("other")

    def made(number):
        try:
            s3.create_bucket(Bucket=f"limited-{number}")
            return f"limited-{number}"
        except ClientError as error:
            return error.response["Error"]["Code"]

    # All at once: the limit holds.
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(made, range(12)))
    names = [answer for answer in answers if answer.startswith("limited-")]
    assert len(names) == 5 and answers.count("TooManyBuckets") == 7
    assert refused(s3.create_bucket, Bucket="one-more") == (400, "TooManyBuckets", "You have attempted to create more buckets than allowed")
    # Who has it already is told so, and another account has its own number.
    s3.create_bucket(Bucket=names[0])
    other.create_bucket(Bucket="of-another-account")
    assert refused(s3.create_bucket, Bucket="of-another-account")[:2] == (409, "BucketAlreadyExists")
    s3.delete_bucket(Bucket=names[0])
    s3.create_bucket(Bucket="one-more")
    assert len(s3.list_buckets()["Buckets"]) == 5
    for bucket in s3.list_buckets()["Buckets"]:
        s3.delete_bucket(Bucket=bucket["Name"])


def test_a_bucket_has_so_many_uploads_in_progress_and_no_more(limited):
    s3 = limited.client()
    for bucket in ("uploads", "beside"):
        s3.create_bucket(Bucket=bucket)
    ids = [s3.create_multipart_upload(Bucket="uploads", Key=key)["UploadId"] for key in ("a", "a", "b")]
    text = "The bucket has its limit of 3 multipart uploads in progress. Complete or abort some of them first."
    assert refused(s3.create_multipart_upload, Bucket="uploads", Key="c") == (400, "InvalidRequest", text)
    s3.create_multipart_upload(Bucket="beside", Key="c")
    # Other writes go on, and so do the uploads there are.
    s3.put_object(Bucket="uploads", Key="c", Body=b"x")
    part = {"Bucket": "uploads", "Key": "a", "UploadId": ids[0]}
    etag = s3.upload_part(**part, PartNumber=1, Body=b"x")["ETag"]
    s3.complete_multipart_upload(**part, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]})
    s3.create_multipart_upload(Bucket="uploads", Key="c")
    assert refused(s3.create_multipart_upload, Bucket="uploads", Key="d")[1] == "InvalidRequest"
    s3.abort_multipart_upload(Bucket="uploads", Key="b", UploadId=ids[2])
    s3.create_multipart_upload(Bucket="uploads", Key="d")
