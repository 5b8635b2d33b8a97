-- Expand: the time of the last round of recovery, and when silence of workers counts again.
CREATE TABLE IF NOT EXISTS musicgen_recovery (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    round_at timestamptz NOT NULL,
    trusts_from timestamptz NOT NULL
);
