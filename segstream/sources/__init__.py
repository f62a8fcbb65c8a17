"""Where frames come from: files, folders, cameras, streams, the drawn street."""
