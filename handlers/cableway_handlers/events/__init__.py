"""Cloud events: what a queue, a bucket, a rule or a schedule tells, made into runs."""
