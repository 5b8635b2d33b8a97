"""Content credentials (C2PA): sign clips, and read and verify the credentials of files.

The extra `credentials` has the packages. Imports no torch.
"""
