-- A body of 1 MiB, which the server is to read whole.
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/octet-stream"
wrk.body = string.rep("\0", 1024 * 1024)
