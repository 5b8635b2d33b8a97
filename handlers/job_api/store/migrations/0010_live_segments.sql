-- Expand: live_segments: number of segments of each clip's live audio in the bucket, of the current run.
ALTER TABLE musicgen_jobs ADD COLUMN live_segments integer[] NOT NULL DEFAULT '{}';
