#!/bin/sh
# A deployment runs this before the program: a set-up that is broken ends with 1 or 2, and is not rolled out.
export OIDC_ISSUER_URL=https://auth.example.com
export OIDC_CLIENT_ID=my-service
export OIDC_CLIENT_SECRET_FILE=/var/run/secrets/oidc/client-secret
exec oidc-actor check --refresh-buffer 60 --timeout 10
