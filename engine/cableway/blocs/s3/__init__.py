"""Object stores that speak S3: the connection, what is read, and what is written."""
