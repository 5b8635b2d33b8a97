-- Expand: fair claims among the owners of jobs.
-- The first job of each owner and set of needs is found without reading the jobs behind it.
CREATE INDEX musicgen_jobs_lines ON musicgen_jobs (queue, priority DESC, owner, needs, queue_id)
    WHERE state = 'queued' AND NOT fetches;

-- turn: number of an owner's last claim among jobs of this priority.
CREATE TABLE musicgen_turns (
    queue text NOT NULL,
    priority integer NOT NULL,
    owner text NOT NULL,
    turn bigint GENERATED ALWAYS AS IDENTITY,
    PRIMARY KEY (queue, priority, owner)
);

-- Claims start from the jobs, so a task whose job no longer waits for it would stay for good.
CREATE FUNCTION musicgen_drop_task() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE procrastinate_jobs SET status = 'cancelled' WHERE id = OLD.queue_id AND status = 'todo';
    RETURN NULL;
END;
$$;
CREATE TRIGGER musicgen_drop_task AFTER UPDATE ON musicgen_jobs FOR EACH ROW
    WHEN (OLD.state = 'queued' AND (NEW.state NOT IN ('queued', 'running')
        OR NEW.queue_id IS DISTINCT FROM OLD.queue_id))
    EXECUTE FUNCTION musicgen_drop_task();
UPDATE procrastinate_jobs p SET status = 'cancelled'
WHERE p.status = 'todo' AND p.task_name = 'musicgen.generate' AND p.args ? 'job_id'
    AND NOT EXISTS (SELECT FROM musicgen_jobs j WHERE j.id = p.args ->> 'job_id' AND j.queue_id = p.id
        AND j.state IN ('queued', 'running'));

-- The next task of a queue, now of this worker; no row without one. able: null for any job.
-- Among jobs of the highest priority: the owner with the fewest running jobs, then the one whose
-- last turn is longest ago, then the oldest job.
-- A planner without statistics of a queue that has just grown would read all of it and sort.
CREATE FUNCTION musicgen_claim(queue_of text, able text[], worker bigint)
    RETURNS SETOF procrastinate_jobs LANGUAGE plpgsql
    SET enable_seqscan TO off SET enable_bitmapscan TO off SET enable_sort TO off AS $$
DECLARE
    level integer := 2147483647;
    chosen record;
    claimed procrastinate_jobs;
BEGIN
    -- One claim of a queue at a time: each counts the jobs of those before. The statements below
    -- see what was committed when they start, after the wait.
    PERFORM pg_advisory_xact_lock(hashtext('musicgen_claim ' || queue_of));
    LOOP
        SELECT j.priority INTO level FROM musicgen_jobs j
        WHERE j.state = 'queued' AND NOT j.fetches AND j.queue = queue_of AND j.priority <= level
        ORDER BY j.priority DESC LIMIT 1;
        EXIT WHEN NOT FOUND;

        WITH RECURSIVE lines AS (
            (SELECT j.owner, j.needs FROM musicgen_jobs j
            WHERE j.state = 'queued' AND NOT j.fetches AND j.queue = queue_of
                AND j.priority = level
            ORDER BY j.owner, j.needs LIMIT 1)
            UNION ALL
            SELECT n.owner, n.needs FROM lines l CROSS JOIN LATERAL (
                SELECT j.owner, j.needs FROM musicgen_jobs j
                WHERE j.state = 'queued' AND NOT j.fetches AND j.queue = queue_of
                    AND j.priority = level AND (j.owner, j.needs) > (l.owner, l.needs)
                ORDER BY j.owner, j.needs LIMIT 1) n
        ), running AS MATERIALIZED (
            SELECT j.owner, count(*) AS number
            FROM procrastinate_jobs p JOIN musicgen_jobs j ON j.id = p.args ->> 'job_id'
            WHERE p.status = 'doing' AND p.worker_id IS NOT NULL AND p.queue_name = queue_of
            GROUP BY j.owner
        )
        SELECT h.queue_id, l.owner INTO chosen
        FROM lines l
        LEFT JOIN running r ON r.owner = l.owner
        CROSS JOIN LATERAL (
            SELECT j.queue_id FROM musicgen_jobs j
            WHERE j.state = 'queued' AND NOT j.fetches AND j.queue = queue_of
                AND j.priority = level AND j.owner = l.owner AND j.needs = l.needs
                -- A subquery of one row: a join might read all tasks.
                AND (SELECT p.status = 'todo' AND coalesce(p.scheduled_at <= now(), true)
                    FROM procrastinate_jobs p WHERE p.id = j.queue_id)
            ORDER BY j.queue_id LIMIT 1) h
        WHERE able IS NULL OR l.needs <@ able
        -- The subquery reads one row; a join might read all turns for each owner.
        ORDER BY coalesce(r.number, 0), coalesce((SELECT t.turn FROM musicgen_turns t
            WHERE t.queue = queue_of AND t.priority = level AND t.owner = l.owner), 0),
            h.queue_id LIMIT 1;
        IF NOT FOUND THEN
            level := level - 1;
            CONTINUE;
        END IF;

        UPDATE procrastinate_jobs p SET status = 'doing', worker_id = worker
        WHERE p.id = chosen.queue_id AND p.status = 'todo' RETURNING p.* INTO claimed;
        -- Otherwise a worker of an older program, or the end of the job, came first.
        IF FOUND THEN
            INSERT INTO musicgen_turns (queue, priority, owner)
            VALUES (queue_of, level, chosen.owner)
            ON CONFLICT (queue, priority, owner) DO UPDATE SET turn = DEFAULT;
            RETURN NEXT claimed;
            EXIT;
        END IF;
    END LOOP;
END;
$$;
