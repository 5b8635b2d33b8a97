#!/bin/sh
# The command of SageMaker, which runs `docker run IMAGE serve`.
# `exec` makes the server the process that gets SIGTERM.
export MUSICGEN_PLATFORM="${MUSICGEN_PLATFORM:-sagemaker}"
exec musicgen serve model --host 0.0.0.0 --port 8080
