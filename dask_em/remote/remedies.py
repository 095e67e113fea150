"""What to do where an object store denies access, lacks a bucket, or has no client installed."""

from __future__ import annotations

from dask_em.errors import SourceError
from dask_em.remote.secrets import without_secrets
from dask_em.remote.trouble import cause_of, is_denied, is_lacking_home, may_be_absent

__all__ = ["no_client", "refused", "unreached"]

#: how credentials are given, by protocol
CREDENTIALS = {
    "s3": "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or pass "
    'storage_options={"key": ..., "secret": ...}; for public data storage_options={"anon": True} '
    "(--storage-option anon=true)",
    "gs": "run gcloud auth application-default login, set GOOGLE_APPLICATION_CREDENTIALS, or pass "
    'storage_options={"token": ...}; for public data storage_options={"token": "anon"}',
    "az": "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or pass "
    'storage_options={"account_name": ..., "account_key": ...}; for public data '
    'storage_options={"account_name": ..., "anon": True}',
}
SAME = {"s3a": "s3", "gcs": "gs", "abfs": "az", "abfss": "az", "adl": "az"}
#: chunks of fill values need not be stored, and Zarr looks for documents that need not be there
UNLISTED = (
    "where s3:ListBucket is not granted, S3 says this of an object that is not there as well: ask "
    "for that permission"
)
#: the package that opens a protocol, where it is not one that dask_em always has
EXTRA = "pip install 'dask_em[remote]'"


def refused(error: BaseException, url: str) -> SourceError | None:
    """The error to raise where access is denied or the bucket is not there; None elsewhere."""
    if "://" not in url:
        return None
    shown, cause = without_secrets(url), cause_of(error)
    if is_denied(error):
        hint = f"; {UNLISTED}" if may_be_absent(error) else ""
        return SourceError(f"access to {shown} is denied ({cause}); {_credentials(url)}{hint}")
    if is_lacking_home(error):
        return SourceError(
            f"the bucket of {shown} does not exist ({cause}); check its name, and the "
            "endpoint_url in storage_options if it is not a store of the provider itself"
        )
    return None


def unreached(error: BaseException, url: str) -> SourceError:
    """The error where a place cannot be looked at, for whatever reason."""
    return refused(error, url) or SourceError(
        f"{without_secrets(url)} cannot be reached ({cause_of(error)}); check the address, your "
        "access to it and storage_options"
    )


def no_client(error: Exception, url: str) -> SourceError:
    """The error where the file system of a URL is not known or not installed."""
    cause = without_secrets(str(error))
    if isinstance(error, ImportError):
        return SourceError(
            f"{without_secrets(url)} needs a package that is not installed ({cause}); {EXTRA}"
        )
    return SourceError(
        f"{without_secrets(url)} cannot be opened ({type(error).__name__}: {cause}); check its "
        "protocol and storage_options"
    )


def _credentials(url: str) -> str:
    # of a chain such as simplecache::s3://bucket the last link is the store
    protocol = url.rpartition("::")[2].partition("://")[0].lower()
    return CREDENTIALS.get(SAME.get(protocol, protocol), "check the credentials in storage_options")
