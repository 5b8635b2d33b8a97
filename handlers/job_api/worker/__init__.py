"""Workers: take jobs from the queue, run them and report their progress."""
