#!/bin/sh
# Start MusicGen on one GPU machine: cloud-init runs this once, and you may run it again.
# Secrets are made here, so none is in the user data, which every process of the machine can read.
set -eu
umask 077
cd /opt/musicgen

modprobe nvidia || { echo "no NVIDIA driver: is there a GPU? See /var/log/cloud-init-output.log" >&2; exit 1; }

if [ ! -f .env ]; then
  cp images.env .env.new
  for name in POSTGRES_PASSWORD BUCKET_KEY_ID BUCKET_SECRET; do
    echo "$name=$(openssl rand -hex 32)" >> .env.new
  done
  mv .env.new .env
fi

nvidia-ctk runtime configure --runtime=docker
systemctl restart docker
docker compose -f infra/compose/compose.yaml --env-file .env up -d --wait --wait-timeout 1800
systemctl reload-or-restart caddy
