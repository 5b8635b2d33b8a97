-- Expand: needs of jobs, abilities of workers, and the measured pace of each kind of work.
-- needs: abilities that a worker must have for the job. unable_since: no living worker has them.
ALTER TABLE musicgen_jobs ADD COLUMN needs text[] NOT NULL DEFAULT '{}',
    ADD COLUMN unable_since timestamptz;
-- abilities: null for a relay, and for a worker of an older program, which takes any job.
ALTER TABLE musicgen_workers ADD COLUMN abilities text[];
-- The last measured jobs of a kind, the newest first: seconds of audio, and seconds of work.
CREATE TABLE musicgen_paces (
    kind text PRIMARY KEY,
    audio real[] NOT NULL,
    work real[] NOT NULL
);
