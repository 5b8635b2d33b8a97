-- pg_dump --inserts --no-owner of a server of release 0.1.0: finished, interrupted and waiting
-- jobs, a webhook in its third attempt, two keys and an upload. The secrets are of this file only.
--
-- PostgreSQL database dump
--

-- Dumped from database version 18.4
-- Dumped by pg_dump version 18.4

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET transaction_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- Name: procrastinate_job_event_type; Type: TYPE; Schema: public; Owner: -
--

CREATE TYPE public.procrastinate_job_event_type AS ENUM (
    'deferred',
    'started',
    'deferred_for_retry',
    'failed',
    'succeeded',
    'cancelled',
    'abort_requested',
    'aborted',
    'scheduled',
    'retried'
);

--
-- Name: procrastinate_job_status; Type: TYPE; Schema: public; Owner: -
--

CREATE TYPE public.procrastinate_job_status AS ENUM (
    'todo',
    'doing',
    'succeeded',
    'failed',
    'cancelled',
    'aborting',
    'aborted'
);

--
-- Name: procrastinate_job_to_defer_v1; Type: TYPE; Schema: public; Owner: -
--

CREATE TYPE public.procrastinate_job_to_defer_v1 AS (
	queue_name character varying,
	task_name character varying,
	priority integer,
	lock text,
	queueing_lock text,
	args jsonb,
	scheduled_at timestamp with time zone
);

--
-- Name: musicgen_tell_of_job(); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.musicgen_tell_of_job() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    PERFORM pg_notify('musicgen_jobs', NEW.id);
    RETURN NULL;
END;
$$;

--
-- Name: procrastinate_cancel_job_v1(bigint, boolean, boolean); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.procrastinate_cancel_job_v1(job_id bigint, abort boolean, delete_job boolean) RETURNS bigint
    LANGUAGE plpgsql
    AS $$
DECLARE
    _job_id bigint;
BEGIN
    IF delete_job THEN
        DELETE FROM procrastinate_jobs
        WHERE id = job_id AND status = 'todo'
        RETURNING id INTO _job_id;
    END IF;
    IF _job_id IS NULL THEN
        IF abort THEN
            UPDATE procrastinate_jobs
            SET abort_requested = true,
                status = CASE status
                    WHEN 'todo' THEN 'cancelled'::procrastinate_job_status ELSE status
                END
            WHERE id = job_id AND status IN ('todo', 'doing')
            RETURNING id INTO _job_id;
        ELSE
            UPDATE procrastinate_jobs
            SET status = 'cancelled'::procrastinate_job_status
            WHERE id = job_id AND status = 'todo'
            RETURNING id INTO _job_id;
        END IF;
    END IF;
    RETURN _job_id;
END;
$$;

--
-- Name: procrastinate_defer_jobs_v1(public.procrastinate_job_to_defer_v1[]); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.procrastinate_defer_jobs_v1(jobs public.procrastinate_job_to_defer_v1[]) RETURNS bigint[]
    LANGUAGE plpgsql
    AS $$
DECLARE
    job_ids bigint[];
BEGIN
    WITH inserted_jobs AS (
        INSERT INTO procrastinate_jobs (queue_name, task_name, priority, lock, queueing_lock, args, scheduled_at)
        SELECT (job).queue_name,
               (job).task_name,
               (job).priority,
               (job).lock,
               (job).queueing_lock,
               (job).args,
               (job).scheduled_at
        FROM unnest(jobs) AS job
        RETURNING id
    )
    SELECT array_agg(id) FROM inserted_jobs INTO job_ids;

    RETURN job_ids;
END;
$$;

--
-- Name: procrastinate_defer_periodic_job_v2(character varying, character varying, character varying, character varying, integer, character varying, bigint, jsonb); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.procrastinate_defer_periodic_job_v2(_queue_name character varying, _lock character varying, _queueing_lock character varying, _task_name character varying, _priority integer, _periodic_id character varying, _defer_timestamp bigint, _args jsonb) RETURNS bigint
    LANGUAGE plpgsql
    AS $$
DECLARE
	_job_id bigint;
	_defer_id bigint;
BEGIN
    INSERT
        INTO procrastinate_periodic_defers (task_name, periodic_id, defer_timestamp)
        VALUES (_task_name, _periodic_id, _defer_timestamp)
        ON CONFLICT DO NOTHING
        RETURNING id into _defer_id;

    IF _defer_id IS NULL THEN
        RETURN NULL;
    END IF;

    UPDATE procrastinate_periodic_defers
        SET job_id = (
            SELECT COALESCE((
                SELECT unnest(procrastinate_defer_jobs_v1(
                    ARRAY[
                        ROW(
                            _queue_name,
                            _task_name,
                            _priority,
                            _lock,
                            _queueing_lock,
                            _args,
                            NULL::timestamptz
                        )
                    ]::procrastinate_job_to_defer_v1[]
                ))
            ), NULL)
        )
        WHERE id = _defer_id
        RETURNING job_id INTO _job_id;

    DELETE
        FROM procrastinate_periodic_defers
        USING (
            SELECT id
            FROM procrastinate_periodic_defers
            WHERE procrastinate_periodic_defers.task_name = _task_name
            AND procrastinate_periodic_defers.periodic_id = _periodic_id
            AND procrastinate_periodic_defers.defer_timestamp < _defer_timestamp
            ORDER BY id
            FOR UPDATE
        ) to_delete
        WHERE procrastinate_periodic_defers.id = to_delete.id;

    RETURN _job_id;
END;
$$;

SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: procrastinate_jobs; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.procrastinate_jobs (
    id bigint NOT NULL,
    queue_name character varying(128) NOT NULL,
    task_name character varying(128) NOT NULL,
    priority integer DEFAULT 0 NOT NULL,
    lock text,
    queueing_lock text,
    args jsonb DEFAULT '{}'::jsonb NOT NULL,
    status public.procrastinate_job_status DEFAULT 'todo'::public.procrastinate_job_status NOT NULL,
    scheduled_at timestamp with time zone,
    attempts integer DEFAULT 0 NOT NULL,
    abort_requested boolean DEFAULT false NOT NULL,
    worker_id bigint,
    CONSTRAINT check_not_todo_abort_requested CHECK ((NOT ((status = 'todo'::public.procrastinate_job_status) AND (abort_requested = true))))
);

--
-- Name: procrastinate_fetch_job_v2(character varying[], bigint); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.procrastinate_fetch_job_v2(target_queue_names character varying[], p_worker_id bigint) RETURNS public.procrastinate_jobs
    LANGUAGE plpgsql
    AS $$
DECLARE
	found_jobs procrastinate_jobs;
BEGIN
    WITH candidate AS (
        SELECT jobs.*
            FROM procrastinate_jobs AS jobs
            WHERE
                -- reject the job if its lock has earlier or higher priority jobs
                NOT EXISTS (
                    SELECT 1
                        FROM procrastinate_jobs AS other_jobs
                        WHERE
                            jobs.lock IS NOT NULL
                            AND other_jobs.lock = jobs.lock
                            AND (
                                -- job with same lock is already running
                                other_jobs.status = 'doing'
                                OR
                                -- job with same lock is waiting and has higher priority (or same priority but was queued first)
                                (
                                    other_jobs.status = 'todo'
                                    AND (
                                        other_jobs.priority > jobs.priority
                                        OR (
                                        other_jobs.priority = jobs.priority
                                        AND other_jobs.id < jobs.id
                                        )
                                    )
                                )
                            )
                )
                AND jobs.status = 'todo'
                AND (target_queue_names IS NULL OR jobs.queue_name = ANY( target_queue_names ))
                AND (jobs.scheduled_at IS NULL OR jobs.scheduled_at <= now())
            ORDER BY jobs.priority DESC, jobs.id ASC LIMIT 1
            FOR UPDATE OF jobs SKIP LOCKED
    )
    UPDATE procrastinate_jobs
        SET status = 'doing', worker_id = p_worker_id
        FROM candidate
        WHERE procrastinate_jobs.id = candidate.id
        RETURNING procrastinate_jobs.* INTO found_jobs;

 RETURN found_jobs;
END;
$$;

--
-- Name: procrastinate_finish_job_v1(bigint, public.procrastinate_job_status, boolean); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.procrastinate_finish_job_v1(job_id bigint, end_status public.procrastinate_job_status, delete_job boolean) RETURNS void
    LANGUAGE plpgsql
    AS $$
DECLARE
    _job_id bigint;
BEGIN
    IF end_status NOT IN ('succeeded', 'failed', 'aborted') THEN
        RAISE 'End status should be either "succeeded", "failed" or "aborted" (job id: %)', job_id;
    END IF;
    IF delete_job THEN
        DELETE FROM procrastinate_jobs
        WHERE id = job_id AND status IN ('todo', 'doing')
        RETURNING id INTO _job_id;
    ELSE
        UPDATE procrastinate_jobs
        SET status = end_status,
            abort_requested = false,
            attempts = CASE status
                WHEN 'doing' THEN attempts + 1 ELSE attempts
            END
        WHERE id = job_id AND status IN ('todo', 'doing')
        RETURNING id INTO _job_id;
    END IF;
    IF _job_id IS NULL THEN
        RAISE 'Job was not found or not in "doing" or "todo" status (job id: %)', job_id;
    END IF;
END;
$$;

--
-- Name: procrastinate_notify_queue_abort_job_v1(); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.procrastinate_notify_queue_abort_job_v1() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
DECLARE
    payload TEXT;
BEGIN
    SELECT json_build_object('type', 'abort_job_requested', 'job_id', NEW.id)::text INTO payload;
	PERFORM pg_notify('procrastinate_queue_v1#' || NEW.queue_name, payload);
	PERFORM pg_notify('procrastinate_any_queue_v1', payload);
	RETURN NEW;
END;
$$;

--
-- Name: procrastinate_notify_queue_job_inserted_v1(); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.procrastinate_notify_queue_job_inserted_v1() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
DECLARE
    payload TEXT;
BEGIN
    SELECT json_build_object('type', 'job_inserted', 'job_id', NEW.id)::text INTO payload;
	PERFORM pg_notify('procrastinate_queue_v1#' || NEW.queue_name, payload);
	PERFORM pg_notify('procrastinate_any_queue_v1', payload);
	RETURN NEW;
END;
$$;

--
-- Name: procrastinate_prune_stalled_workers_v1(double precision); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.procrastinate_prune_stalled_workers_v1(seconds_since_heartbeat double precision) RETURNS TABLE(worker_id bigint)
    LANGUAGE plpgsql
    AS $$
BEGIN
    RETURN QUERY
    DELETE FROM procrastinate_workers
    WHERE last_heartbeat < NOW() - (seconds_since_heartbeat || 'SECOND')::INTERVAL
    RETURNING procrastinate_workers.id;
END;
$$;

--
-- Name: procrastinate_register_worker_v1(); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.procrastinate_register_worker_v1() RETURNS TABLE(worker_id bigint)
    LANGUAGE plpgsql
    AS $$
BEGIN
    RETURN QUERY
    INSERT INTO procrastinate_workers DEFAULT VALUES
    RETURNING procrastinate_workers.id;
END;
$$;

--
-- Name: procrastinate_retry_job_v1(bigint, timestamp with time zone, integer, character varying, character varying); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.procrastinate_retry_job_v1(job_id bigint, retry_at timestamp with time zone, new_priority integer, new_queue_name character varying, new_lock character varying) RETURNS void
    LANGUAGE plpgsql
    AS $$
DECLARE
    _job_id bigint;
    _abort_requested boolean;
BEGIN
    SELECT abort_requested FROM procrastinate_jobs
    WHERE id = job_id AND status = 'doing'
    FOR UPDATE
    INTO _abort_requested;
    IF _abort_requested THEN
        UPDATE procrastinate_jobs
        SET status = 'failed'::procrastinate_job_status
        WHERE id = job_id AND status = 'doing'
        RETURNING id INTO _job_id;
    ELSE
        UPDATE procrastinate_jobs
        SET status = 'todo'::procrastinate_job_status,
            attempts = attempts + 1,
            scheduled_at = retry_at,
            priority = COALESCE(new_priority, priority),
            queue_name = COALESCE(new_queue_name, queue_name),
            lock = COALESCE(new_lock, lock)
        WHERE id = job_id AND status = 'doing'
        RETURNING id INTO _job_id;
    END IF;

    IF _job_id IS NULL THEN
        RAISE 'Job was not found or not in "doing" status (job id: %)', job_id;
    END IF;
END;
$$;

--
-- Name: procrastinate_retry_job_v2(bigint, timestamp with time zone, integer, character varying, character varying); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.procrastinate_retry_job_v2(job_id bigint, retry_at timestamp with time zone, new_priority integer, new_queue_name character varying, new_lock character varying) RETURNS void
    LANGUAGE plpgsql
    AS $$
DECLARE
    _job_id bigint;
    _abort_requested boolean;
    _current_status procrastinate_job_status;
BEGIN
    SELECT status, abort_requested FROM procrastinate_jobs
    WHERE id = job_id AND status IN ('doing', 'failed')
    FOR UPDATE
    INTO _current_status, _abort_requested;
    IF _current_status = 'doing' AND _abort_requested THEN
        UPDATE procrastinate_jobs
        SET status = 'failed'::procrastinate_job_status
        WHERE id = job_id AND status = 'doing'
        RETURNING id INTO _job_id;
    ELSE
        UPDATE procrastinate_jobs
        SET status = 'todo'::procrastinate_job_status,
            attempts = attempts + 1,
            scheduled_at = retry_at,
            priority = COALESCE(new_priority, priority),
            queue_name = COALESCE(new_queue_name, queue_name),
            lock = COALESCE(new_lock, lock)
        WHERE id = job_id AND status IN ('doing', 'failed')
        RETURNING id INTO _job_id;
    END IF;

    IF _job_id IS NULL THEN
        RAISE 'Job was not found or has an invalid status to retry (job id: %)', job_id;
    END IF;

END;
$$;

--
-- Name: procrastinate_trigger_abort_requested_events_procedure_v1(); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.procrastinate_trigger_abort_requested_events_procedure_v1() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    INSERT INTO procrastinate_events(job_id, type)
        VALUES (NEW.id, 'abort_requested'::procrastinate_job_event_type);
    RETURN NEW;
END;
$$;

--
-- Name: procrastinate_trigger_function_scheduled_events_v1(); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.procrastinate_trigger_function_scheduled_events_v1() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    INSERT INTO procrastinate_events(job_id, type, at)
        VALUES (NEW.id, 'scheduled'::procrastinate_job_event_type, NEW.scheduled_at);

	RETURN NEW;
END;
$$;

--
-- Name: procrastinate_trigger_function_status_events_insert_v1(); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.procrastinate_trigger_function_status_events_insert_v1() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    INSERT INTO procrastinate_events(job_id, type)
        VALUES (NEW.id, 'deferred'::procrastinate_job_event_type);
	RETURN NEW;
END;
$$;

--
-- Name: procrastinate_trigger_function_status_events_update_v1(); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.procrastinate_trigger_function_status_events_update_v1() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    WITH t AS (
        SELECT CASE
            WHEN OLD.status = 'todo'::procrastinate_job_status
                AND NEW.status = 'doing'::procrastinate_job_status
                THEN 'started'::procrastinate_job_event_type
            WHEN OLD.status = 'doing'::procrastinate_job_status
                AND NEW.status = 'todo'::procrastinate_job_status
                THEN 'deferred_for_retry'::procrastinate_job_event_type
            WHEN OLD.status = 'doing'::procrastinate_job_status
                AND NEW.status = 'failed'::procrastinate_job_status
                THEN 'failed'::procrastinate_job_event_type
            WHEN OLD.status = 'doing'::procrastinate_job_status
                AND NEW.status = 'succeeded'::procrastinate_job_status
                THEN 'succeeded'::procrastinate_job_event_type
            WHEN OLD.status = 'todo'::procrastinate_job_status
                AND (
                    NEW.status = 'cancelled'::procrastinate_job_status
                    OR NEW.status = 'failed'::procrastinate_job_status
                    OR NEW.status = 'succeeded'::procrastinate_job_status
                )
                THEN 'cancelled'::procrastinate_job_event_type
            WHEN OLD.status = 'doing'::procrastinate_job_status
                AND NEW.status = 'aborted'::procrastinate_job_status
                THEN 'aborted'::procrastinate_job_event_type
            WHEN OLD.status = 'failed'::procrastinate_job_status
                AND NEW.status = 'todo'::procrastinate_job_status
                THEN 'retried'::procrastinate_job_event_type
            ELSE NULL
        END as event_type
    )
    INSERT INTO procrastinate_events(job_id, type)
        SELECT NEW.id, t.event_type
        FROM t
        WHERE t.event_type IS NOT NULL;
	RETURN NEW;
END;
$$;

--
-- Name: procrastinate_unlink_periodic_defers_v1(); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.procrastinate_unlink_periodic_defers_v1() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    UPDATE procrastinate_periodic_defers
    SET job_id = NULL
    WHERE job_id = OLD.id;
    RETURN OLD;
END;
$$;

--
-- Name: procrastinate_unregister_worker_v1(bigint); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.procrastinate_unregister_worker_v1(worker_id bigint) RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    DELETE FROM procrastinate_workers
    WHERE id = worker_id;
END;
$$;

--
-- Name: procrastinate_update_heartbeat_v1(bigint); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.procrastinate_update_heartbeat_v1(worker_id bigint) RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    UPDATE procrastinate_workers
    SET last_heartbeat = NOW()
    WHERE id = worker_id;
END;
$$;

--
-- Name: musicgen_jobs; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.musicgen_jobs (
    id text NOT NULL,
    owner text NOT NULL,
    state text DEFAULT 'queued'::text NOT NULL,
    request jsonb NOT NULL,
    request_hash text NOT NULL,
    idempotency_key text,
    priority integer DEFAULT 0 NOT NULL,
    webhook_url text,
    webhook_queued boolean DEFAULT false NOT NULL,
    trace text,
    queue text NOT NULL,
    queue_id bigint,
    attempt integer DEFAULT 0 NOT NULL,
    maker text,
    progress real DEFAULT 0 NOT NULL,
    streams boolean DEFAULT false NOT NULL,
    result jsonb,
    error jsonb,
    audio_seconds real NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    started_at timestamp with time zone,
    finished_at timestamp with time zone,
    CONSTRAINT musicgen_jobs_state_check CHECK ((state = ANY (ARRAY['queued'::text, 'running'::text, 'completed'::text, 'failed'::text, 'cancelled'::text])))
);

--
-- Name: musicgen_keys; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.musicgen_keys (
    prefix text NOT NULL,
    sha256 text NOT NULL,
    name text NOT NULL,
    scopes text[] NOT NULL,
    webhook_secret text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone,
    revoked_at timestamp with time zone
);

--
-- Name: musicgen_spent; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.musicgen_spent (
    month text NOT NULL,
    usd numeric DEFAULT 0 NOT NULL
);

--
-- Name: musicgen_uploads; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.musicgen_uploads (
    id text NOT NULL,
    owner text NOT NULL,
    bytes bigint NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);

--
-- Name: musicgen_wanted; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.musicgen_wanted (
    one boolean DEFAULT true NOT NULL,
    model text NOT NULL,
    error text,
    before text,
    CONSTRAINT musicgen_wanted_one_check CHECK (one)
);

--
-- Name: musicgen_workers; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.musicgen_workers (
    name text NOT NULL,
    slots integer NOT NULL,
    makes text NOT NULL,
    models text[] NOT NULL,
    loading text,
    seen_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT musicgen_workers_makes_check CHECK ((makes = ANY (ARRAY['local'::text, 'remote'::text])))
);

--
-- Name: procrastinate_events; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.procrastinate_events (
    id bigint NOT NULL,
    job_id bigint NOT NULL,
    type public.procrastinate_job_event_type,
    at timestamp with time zone DEFAULT now()
);

--
-- Name: procrastinate_events_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.procrastinate_events_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

--
-- Name: procrastinate_events_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.procrastinate_events_id_seq OWNED BY public.procrastinate_events.id;

--
-- Name: procrastinate_jobs_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.procrastinate_jobs_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

--
-- Name: procrastinate_jobs_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.procrastinate_jobs_id_seq OWNED BY public.procrastinate_jobs.id;

--
-- Name: procrastinate_periodic_defers; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.procrastinate_periodic_defers (
    id bigint NOT NULL,
    task_name character varying(128) NOT NULL,
    defer_timestamp bigint,
    job_id bigint,
    periodic_id character varying(128) DEFAULT ''::character varying NOT NULL
);

--
-- Name: procrastinate_periodic_defers_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.procrastinate_periodic_defers_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

--
-- Name: procrastinate_periodic_defers_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.procrastinate_periodic_defers_id_seq OWNED BY public.procrastinate_periodic_defers.id;

--
-- Name: procrastinate_workers; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.procrastinate_workers (
    id bigint NOT NULL,
    last_heartbeat timestamp with time zone DEFAULT now() NOT NULL
);

--
-- Name: procrastinate_workers_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.procrastinate_workers ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.procrastinate_workers_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

--
-- Name: procrastinate_events id; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.procrastinate_events ALTER COLUMN id SET DEFAULT nextval('public.procrastinate_events_id_seq'::regclass);

--
-- Name: procrastinate_jobs id; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.procrastinate_jobs ALTER COLUMN id SET DEFAULT nextval('public.procrastinate_jobs_id_seq'::regclass);

--
-- Name: procrastinate_periodic_defers id; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.procrastinate_periodic_defers ALTER COLUMN id SET DEFAULT nextval('public.procrastinate_periodic_defers_id_seq'::regclass);

--
-- Data for Name: musicgen_jobs; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.musicgen_jobs VALUES ('d3fec6ad7ff608840d88a0e55fbccb1d', 'd6257a24', 'completed', '{"seed": 7, "prompt": "finished piano", "duration": 0.5, "model_version": "demo"}', '591998e4c44340b4464dab093c89713036bdc712a08b1838284a5de1709e4e65', 'first-song', 0, NULL, false, NULL, 'local', 1, 1, 'vm-3657', 1, true, '{"seed": 7, "clips": [{"peak": 1.0, "seed": 7, "bytes": 32312, "format": "wav", "prompt": "finished piano", "sha256": "1e080532fdabcf86b5afc96c394826ab0e41aa0cbb2738ae88c9b712c8027299", "address": "/tmp/w/d010/data/clips/d3fec6ad7ff608840d88a0e55fbccb1d-1/1.wav", "samples": 16000, "seconds": 0.5, "channels": 1, "sample_rate": 32000, "content_type": "audio/wav", "loudness_lufs": -14.03253155766169, "clipped_samples": 49}], "model": "demo", "notes": ["49 samples were beyond full scale and were limited", "the demo model is a toy: it plays short synthetic pieces, not real music", "the stream has the model''s own level; the stored clip is normalized"], "steps": 28, "device": "cpu", "engine": "musicgen", "prompt": "finished piano", "licence": "Apache-2.0", "made_by": "local", "seconds": 0.5, "timings": {"text": 0.0016846580001583789, "codec": 0.01945434700064652, "store": 0.0017038170008163434, "total": 0.06234395499814127, "decode": 0.030150438997225137, "finish": 0.004939292999551981, "waiting": 0.00007743599962850567, "audio_prompt": 0.004411400999742909}, "manifest": null, "precision": "int8", "real_time_factor": 0.12468790999628254}', NULL, 0.5, '2026-11-28 09:22:01.869011+00', '2026-11-28 09:22:01.879849+00', '2026-11-28 09:22:01.949498+00');
INSERT INTO public.musicgen_jobs VALUES ('0419fa0b88c892402a23dc5229e88265', 'd6257a24', 'completed', '{"seed": 8, "prompt": "finished with a webhook", "duration": 0.5, "model_version": "demo"}', 'd6eb04c6eb5f74f91ef0f18f93a9b1b84b12b40cd855e598cb93ab79a2acb392', NULL, 0, 'http://127.0.0.1:9/hook', true, NULL, 'local', 2, 1, 'vm-3657', 1, true, '{"seed": 8, "clips": [{"peak": 1.0, "seed": 8, "bytes": 32328, "format": "wav", "prompt": "finished with a webhook", "sha256": "68f23a47ab16958429f26c4d8988a0db936493b32cb2e59731d1b371f5afdd9f", "address": "/tmp/w/d010/data/clips/0419fa0b88c892402a23dc5229e88265-2/1.wav", "samples": 16000, "seconds": 0.5, "channels": 1, "sample_rate": 32000, "content_type": "audio/wav", "loudness_lufs": -14.189876234327107, "clipped_samples": 123}], "model": "demo", "notes": ["123 samples were beyond full scale and were limited", "the demo model is a toy: it plays short synthetic pieces, not real music", "the stream has the model''s own level; the stored clip is normalized"], "steps": 28, "device": "cpu", "engine": "musicgen", "prompt": "finished with a webhook", "licence": "Apache-2.0", "made_by": "local", "seconds": 0.5, "timings": {"text": 0.0016544430000067223, "codec": 0.006712293999953545, "store": 0.0016185189997486304, "total": 0.03632846099935705, "decode": 0.02249374700113549, "finish": 0.002401944999292027, "waiting": 0.00006388600013451651, "audio_prompt": 0.0014475129992206348}, "manifest": null, "precision": "int8", "real_time_factor": 0.0726569219987141}', NULL, 0.5, '2026-11-28 09:22:02.00787+00', '2026-11-28 09:22:02.014194+00', '2026-11-28 09:22:02.053214+00');
INSERT INTO public.musicgen_jobs VALUES ('349a3e49f0f8403c4654ee556cc02b28', 'd6257a24', 'running', '{"seed": 9, "prompt": "interrupted strings", "duration": 3, "model_version": "demo"}', '8f0c5fa2e12db6e2f8b18db81ecfbc985660e73735193144601692c15cb9d4a6', NULL, 0, NULL, false, NULL, 'local', 6, 1, 'vm-3657', 0.07467404, true, NULL, NULL, 3, '2026-11-28 09:22:14.027134+00', '2026-11-28 09:22:14.037237+00', NULL);
INSERT INTO public.musicgen_jobs VALUES ('5cae314dfb1e65c2c33f9a5395482436', 'd6257a24', 'queued', '{"seed": 10, "prompt": "waiting drums", "duration": 0.5, "model_version": "demo"}', '90f8d400f13d5c85f3301ccf4e0e7dfd7c16a9b081330abc643fc50b7bba92fc', 'later-song', 0, NULL, false, NULL, 'local', 7, 0, NULL, 0, false, NULL, NULL, 0.5, '2026-11-28 09:22:15.276596+00', NULL, NULL);
INSERT INTO public.musicgen_jobs VALUES ('818a9f89666ace6bf55af6fd1394b682', 'd6257a24', 'queued', '{"seed": 11, "prompt": "waiting continuation", "duration": 2, "input_audio": "upload:6fdfd684b437f9016c03e53573d51c2e711276419a88", "continuation": true, "model_version": "demo"}', '5901905b653d393fafc57c8b55273459e2057bf2f8c1cc75d94df404a6844206', NULL, 0, NULL, false, NULL, 'local', 8, 0, NULL, 0, false, NULL, NULL, 2, '2026-11-28 09:22:15.305939+00', NULL, NULL);
INSERT INTO public.musicgen_jobs VALUES ('32897fb9e3550f8ea354e63acbdacbaa', 'd6257a24', 'cancelled', '{"prompt": "cancelled", "duration": 0.5, "model_version": "demo"}', 'dab8b1a790f7219a8d647aba2529580b992662a34a79cc404326ae3333449090', NULL, 0, NULL, false, NULL, 'local', 9, 0, NULL, 0, false, NULL, NULL, 0.5, '2026-11-28 09:22:15.331114+00', NULL, '2026-11-28 09:22:15.35614+00');

--
-- Data for Name: musicgen_keys; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.musicgen_keys VALUES ('d6257a24', '51e289aa2df06b4216333c773082784abd7b2e2ace194b1e6efc36d2b43470cf', 'studio', '{generate,priority}', 'whsec_' || 'd3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3c=', '2026-11-28 09:21:58.01001+00', NULL, NULL);
INSERT INTO public.musicgen_keys VALUES ('fd669070', '4f98ef64481e685fcad621a1b90ad3c9c3388c323bbcf464b148370d2551d0b0', 'gone', '{generate}', 'whsec_' || 'd3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3c=', '2026-11-28 09:21:58.501366+00', NULL, '2026-11-28 09:21:59.490863+00');

--
-- Data for Name: musicgen_spent; Type: TABLE DATA; Schema: public; Owner: -
--

--
-- Data for Name: musicgen_uploads; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.musicgen_uploads VALUES ('6fdfd684b437f9016c03e53573d51c2e711276419a88', 'd6257a24', 64044, '2026-11-28 09:22:01.854469+00');

--
-- Data for Name: musicgen_wanted; Type: TABLE DATA; Schema: public; Owner: -
--

--
-- Data for Name: musicgen_workers; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.musicgen_workers VALUES ('vm-3657', 1, 'local', '{demo}', NULL, '2026-11-28 09:22:13.033104+00');

--
-- Data for Name: procrastinate_events; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.procrastinate_events VALUES (1, 1, 'deferred', '2026-11-28 09:22:01.869011+00');
INSERT INTO public.procrastinate_events VALUES (2, 1, 'started', '2026-11-28 09:22:01.875139+00');
INSERT INTO public.procrastinate_events VALUES (3, 1, 'succeeded', '2026-11-28 09:22:01.951119+00');
INSERT INTO public.procrastinate_events VALUES (4, 2, 'deferred', '2026-11-28 09:22:02.00787+00');
INSERT INTO public.procrastinate_events VALUES (5, 2, 'started', '2026-11-28 09:22:02.011845+00');
INSERT INTO public.procrastinate_events VALUES (6, 2, 'succeeded', '2026-11-28 09:22:02.054618+00');
INSERT INTO public.procrastinate_events VALUES (7, 3, 'deferred', '2026-11-28 09:22:02.529227+00');
INSERT INTO public.procrastinate_events VALUES (8, 3, 'started', '2026-11-28 09:22:02.532631+00');
INSERT INTO public.procrastinate_events VALUES (9, 4, 'scheduled', '2026-11-28 09:22:07.567864+00');
INSERT INTO public.procrastinate_events VALUES (10, 4, 'deferred', '2026-11-28 09:22:02.567734+00');
INSERT INTO public.procrastinate_events VALUES (11, 3, 'succeeded', '2026-11-28 09:22:02.572415+00');
INSERT INTO public.procrastinate_events VALUES (12, 4, 'started', '2026-11-28 09:22:07.575437+00');
INSERT INTO public.procrastinate_events VALUES (13, 5, 'scheduled', '2026-11-28 09:22:37.601033+00');
INSERT INTO public.procrastinate_events VALUES (14, 5, 'deferred', '2026-11-28 09:22:07.60088+00');
INSERT INTO public.procrastinate_events VALUES (15, 4, 'succeeded', '2026-11-28 09:22:07.604409+00');
INSERT INTO public.procrastinate_events VALUES (16, 6, 'deferred', '2026-11-28 09:22:14.027134+00');
INSERT INTO public.procrastinate_events VALUES (17, 6, 'started', '2026-11-28 09:22:14.033433+00');
INSERT INTO public.procrastinate_events VALUES (18, 7, 'deferred', '2026-11-28 09:22:15.276596+00');
INSERT INTO public.procrastinate_events VALUES (19, 8, 'deferred', '2026-11-28 09:22:15.305939+00');
INSERT INTO public.procrastinate_events VALUES (20, 9, 'deferred', '2026-11-28 09:22:15.331114+00');

--
-- Data for Name: procrastinate_jobs; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.procrastinate_jobs VALUES (1, 'local', 'musicgen.generate', 0, NULL, NULL, '{"job_id": "d3fec6ad7ff608840d88a0e55fbccb1d"}', 'succeeded', NULL, 1, false, 2);
INSERT INTO public.procrastinate_jobs VALUES (2, 'local', 'musicgen.generate', 0, NULL, NULL, '{"job_id": "0419fa0b88c892402a23dc5229e88265"}', 'succeeded', NULL, 1, false, 2);
INSERT INTO public.procrastinate_jobs VALUES (3, 'webhooks', 'musicgen.webhook', 0, NULL, NULL, '{"job_id": "0419fa0b88c892402a23dc5229e88265", "attempt": 0}', 'succeeded', NULL, 1, false, 1);
INSERT INTO public.procrastinate_jobs VALUES (5, 'webhooks', 'musicgen.webhook', 0, NULL, NULL, '{"job_id": "0419fa0b88c892402a23dc5229e88265", "attempt": 2}', 'todo', '2026-11-28 09:22:37.601033+00', 0, false, NULL);
INSERT INTO public.procrastinate_jobs VALUES (4, 'webhooks', 'musicgen.webhook', 0, NULL, NULL, '{"job_id": "0419fa0b88c892402a23dc5229e88265", "attempt": 1}', 'succeeded', '2026-11-28 09:22:07.567864+00', 1, false, 1);
INSERT INTO public.procrastinate_jobs VALUES (6, 'local', 'musicgen.generate', 0, NULL, NULL, '{"job_id": "349a3e49f0f8403c4654ee556cc02b28"}', 'doing', NULL, 0, false, 2);
INSERT INTO public.procrastinate_jobs VALUES (7, 'local', 'musicgen.generate', 0, NULL, NULL, '{"job_id": "5cae314dfb1e65c2c33f9a5395482436"}', 'todo', NULL, 0, false, NULL);
INSERT INTO public.procrastinate_jobs VALUES (8, 'local', 'musicgen.generate', 0, NULL, NULL, '{"job_id": "818a9f89666ace6bf55af6fd1394b682"}', 'todo', NULL, 0, false, NULL);
INSERT INTO public.procrastinate_jobs VALUES (9, 'local', 'musicgen.generate', 0, NULL, NULL, '{"job_id": "32897fb9e3550f8ea354e63acbdacbaa"}', 'todo', NULL, 0, false, NULL);

--
-- Data for Name: procrastinate_periodic_defers; Type: TABLE DATA; Schema: public; Owner: -
--

--
-- Data for Name: procrastinate_workers; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.procrastinate_workers OVERRIDING SYSTEM VALUE VALUES (1, '2026-11-28 09:22:10.52154+00');
INSERT INTO public.procrastinate_workers OVERRIDING SYSTEM VALUE VALUES (2, '2026-11-28 09:22:13.032642+00');

--
-- Name: procrastinate_events_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.procrastinate_events_id_seq', 20, true);

--
-- Name: procrastinate_jobs_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.procrastinate_jobs_id_seq', 9, true);

--
-- Name: procrastinate_periodic_defers_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.procrastinate_periodic_defers_id_seq', 1, false);

--
-- Name: procrastinate_workers_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.procrastinate_workers_id_seq', 2, true);

--
-- Name: musicgen_jobs musicgen_jobs_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.musicgen_jobs
    ADD CONSTRAINT musicgen_jobs_pkey PRIMARY KEY (id);

--
-- Name: musicgen_keys musicgen_keys_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.musicgen_keys
    ADD CONSTRAINT musicgen_keys_pkey PRIMARY KEY (prefix);

--
-- Name: musicgen_spent musicgen_spent_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.musicgen_spent
    ADD CONSTRAINT musicgen_spent_pkey PRIMARY KEY (month);

--
-- Name: musicgen_uploads musicgen_uploads_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.musicgen_uploads
    ADD CONSTRAINT musicgen_uploads_pkey PRIMARY KEY (id);

--
-- Name: musicgen_wanted musicgen_wanted_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.musicgen_wanted
    ADD CONSTRAINT musicgen_wanted_pkey PRIMARY KEY (one);

--
-- Name: musicgen_workers musicgen_workers_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.musicgen_workers
    ADD CONSTRAINT musicgen_workers_pkey PRIMARY KEY (name);

--
-- Name: procrastinate_events procrastinate_events_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.procrastinate_events
    ADD CONSTRAINT procrastinate_events_pkey PRIMARY KEY (id);

--
-- Name: procrastinate_jobs procrastinate_jobs_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.procrastinate_jobs
    ADD CONSTRAINT procrastinate_jobs_pkey PRIMARY KEY (id);

--
-- Name: procrastinate_periodic_defers procrastinate_periodic_defers_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.procrastinate_periodic_defers
    ADD CONSTRAINT procrastinate_periodic_defers_pkey PRIMARY KEY (id);

--
-- Name: procrastinate_periodic_defers procrastinate_periodic_defers_unique; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.procrastinate_periodic_defers
    ADD CONSTRAINT procrastinate_periodic_defers_unique UNIQUE (task_name, periodic_id, defer_timestamp);

--
-- Name: procrastinate_workers procrastinate_workers_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.procrastinate_workers
    ADD CONSTRAINT procrastinate_workers_pkey PRIMARY KEY (id);

--
-- Name: idx_procrastinate_jobs_worker_not_null; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX idx_procrastinate_jobs_worker_not_null ON public.procrastinate_jobs USING btree (worker_id) WHERE ((worker_id IS NOT NULL) AND (status = 'doing'::public.procrastinate_job_status));

--
-- Name: idx_procrastinate_workers_last_heartbeat; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX idx_procrastinate_workers_last_heartbeat ON public.procrastinate_workers USING btree (last_heartbeat);

--
-- Name: musicgen_jobs_finished; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX musicgen_jobs_finished ON public.musicgen_jobs USING btree (finished_at);

--
-- Name: musicgen_jobs_of_owner; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX musicgen_jobs_of_owner ON public.musicgen_jobs USING btree (owner, created_at DESC, id);

--
-- Name: musicgen_jobs_once; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX musicgen_jobs_once ON public.musicgen_jobs USING btree (owner, idempotency_key) WHERE (idempotency_key IS NOT NULL);

--
-- Name: musicgen_jobs_unfinished; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX musicgen_jobs_unfinished ON public.musicgen_jobs USING btree (priority DESC, created_at) WHERE (state = ANY (ARRAY['queued'::text, 'running'::text]));

--
-- Name: musicgen_jobs_untold; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX musicgen_jobs_untold ON public.musicgen_jobs USING btree (id) WHERE ((webhook_url IS NOT NULL) AND (NOT webhook_queued));

--
-- Name: procrastinate_events_job_id_fkey_v1; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX procrastinate_events_job_id_fkey_v1 ON public.procrastinate_events USING btree (job_id);

--
-- Name: procrastinate_jobs_id_lock_idx_v1; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX procrastinate_jobs_id_lock_idx_v1 ON public.procrastinate_jobs USING btree (id, lock) WHERE (status = ANY (ARRAY['todo'::public.procrastinate_job_status, 'doing'::public.procrastinate_job_status]));

--
-- Name: procrastinate_jobs_lock_idx_v1; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX procrastinate_jobs_lock_idx_v1 ON public.procrastinate_jobs USING btree (lock) WHERE (status = 'doing'::public.procrastinate_job_status);

--
-- Name: procrastinate_jobs_priority_idx_v1; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX procrastinate_jobs_priority_idx_v1 ON public.procrastinate_jobs USING btree (priority DESC, id) WHERE (status = 'todo'::public.procrastinate_job_status);

--
-- Name: procrastinate_jobs_queue_name_idx_v1; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX procrastinate_jobs_queue_name_idx_v1 ON public.procrastinate_jobs USING btree (queue_name);

--
-- Name: procrastinate_jobs_queueing_lock_idx_v1; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX procrastinate_jobs_queueing_lock_idx_v1 ON public.procrastinate_jobs USING btree (queueing_lock) WHERE (status = 'todo'::public.procrastinate_job_status);

--
-- Name: procrastinate_periodic_defers_job_id_fkey_v1; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX procrastinate_periodic_defers_job_id_fkey_v1 ON public.procrastinate_periodic_defers USING btree (job_id);

--
-- Name: musicgen_jobs musicgen_tell_of_job; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER musicgen_tell_of_job AFTER INSERT OR UPDATE ON public.musicgen_jobs FOR EACH ROW EXECUTE FUNCTION public.musicgen_tell_of_job();

--
-- Name: procrastinate_jobs procrastinate_jobs_notify_queue_job_aborted_v1; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER procrastinate_jobs_notify_queue_job_aborted_v1 AFTER UPDATE OF abort_requested ON public.procrastinate_jobs FOR EACH ROW WHEN (((old.abort_requested = false) AND (new.abort_requested = true) AND (new.status = 'doing'::public.procrastinate_job_status))) EXECUTE FUNCTION public.procrastinate_notify_queue_abort_job_v1();

--
-- Name: procrastinate_jobs procrastinate_jobs_notify_queue_job_inserted_v1; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER procrastinate_jobs_notify_queue_job_inserted_v1 AFTER INSERT ON public.procrastinate_jobs FOR EACH ROW WHEN ((new.status = 'todo'::public.procrastinate_job_status)) EXECUTE FUNCTION public.procrastinate_notify_queue_job_inserted_v1();

--
-- Name: procrastinate_jobs procrastinate_trigger_abort_requested_events_v1; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER procrastinate_trigger_abort_requested_events_v1 AFTER UPDATE OF abort_requested ON public.procrastinate_jobs FOR EACH ROW WHEN ((new.abort_requested = true)) EXECUTE FUNCTION public.procrastinate_trigger_abort_requested_events_procedure_v1();

--
-- Name: procrastinate_jobs procrastinate_trigger_delete_jobs_v1; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER procrastinate_trigger_delete_jobs_v1 BEFORE DELETE ON public.procrastinate_jobs FOR EACH ROW EXECUTE FUNCTION public.procrastinate_unlink_periodic_defers_v1();

--
-- Name: procrastinate_jobs procrastinate_trigger_scheduled_events_v1; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER procrastinate_trigger_scheduled_events_v1 AFTER INSERT OR UPDATE ON public.procrastinate_jobs FOR EACH ROW WHEN (((new.scheduled_at IS NOT NULL) AND (new.status = 'todo'::public.procrastinate_job_status))) EXECUTE FUNCTION public.procrastinate_trigger_function_scheduled_events_v1();

--
-- Name: procrastinate_jobs procrastinate_trigger_status_events_insert_v1; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER procrastinate_trigger_status_events_insert_v1 AFTER INSERT ON public.procrastinate_jobs FOR EACH ROW WHEN ((new.status = 'todo'::public.procrastinate_job_status)) EXECUTE FUNCTION public.procrastinate_trigger_function_status_events_insert_v1();

--
-- Name: procrastinate_jobs procrastinate_trigger_status_events_update_v1; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER procrastinate_trigger_status_events_update_v1 AFTER UPDATE OF status ON public.procrastinate_jobs FOR EACH ROW EXECUTE FUNCTION public.procrastinate_trigger_function_status_events_update_v1();

--
-- Name: procrastinate_events procrastinate_events_job_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.procrastinate_events
    ADD CONSTRAINT procrastinate_events_job_id_fkey FOREIGN KEY (job_id) REFERENCES public.procrastinate_jobs(id) ON DELETE CASCADE;

--
-- Name: procrastinate_jobs procrastinate_jobs_worker_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.procrastinate_jobs
    ADD CONSTRAINT procrastinate_jobs_worker_id_fkey FOREIGN KEY (worker_id) REFERENCES public.procrastinate_workers(id) ON DELETE SET NULL;

--
-- Name: procrastinate_periodic_defers procrastinate_periodic_defers_job_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.procrastinate_periodic_defers
    ADD CONSTRAINT procrastinate_periodic_defers_job_id_fkey FOREIGN KEY (job_id) REFERENCES public.procrastinate_jobs(id);

--
-- PostgreSQL database dump complete
--

