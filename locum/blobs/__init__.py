"""Bytes: the content of files, under the file's id. No row without its blob; other bytes are noted and swept."""
