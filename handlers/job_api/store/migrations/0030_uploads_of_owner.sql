-- Expand: the quota of uploads adds up the rows of one owner.
CREATE INDEX IF NOT EXISTS musicgen_uploads_of_owner ON musicgen_uploads (owner, created_at);
