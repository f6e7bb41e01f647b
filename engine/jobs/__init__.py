"""Everything slow is a job: queue, run folders, worker processes. Does not know what a job computes."""
