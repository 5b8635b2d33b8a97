-- Expand: the delivery of a webhook is part of its job's row, no task of the queue.
-- webhook_at: the next attempt, or the end of the lease of one under way.
-- webhook_over: delivered or given up. webhook_queued is of older programs.
ALTER TABLE musicgen_jobs
    ADD COLUMN IF NOT EXISTS webhook_over boolean NOT NULL DEFAULT false,
    ADD COLUMN IF NOT EXISTS webhook_failures integer NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS webhook_at timestamptz NOT NULL DEFAULT now();
UPDATE musicgen_jobs SET webhook_over = true WHERE webhook_queued;
-- Deliveries under way or lost with an older program.
UPDATE musicgen_jobs j SET webhook_over = false, webhook_at = coalesce(p.scheduled_at, now()),
    webhook_failures = (p.args ->> 'attempt')::integer
FROM procrastinate_jobs p
WHERE p.task_name = 'musicgen.webhook' AND p.status IN ('todo', 'doing', 'aborted')
    AND p.args ->> 'job_id' = j.id;
UPDATE procrastinate_jobs SET status = 'cancelled'
WHERE task_name = 'musicgen.webhook' AND status = 'todo';
DROP INDEX IF EXISTS musicgen_jobs_untold;
CREATE INDEX IF NOT EXISTS musicgen_jobs_webhooks ON musicgen_jobs (webhook_at)
    WHERE webhook_url IS NOT NULL AND NOT webhook_over;
