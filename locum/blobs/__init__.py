"""Bytes: the content of files, under the file's id. No row without its blob; a blob without a row is swept."""
