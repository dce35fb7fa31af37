#!/bin/sh
# CI runs this: the options of the program survive any outage of its provider of up to two minutes, or the build fails.
exec oidc-actor rehearse --lifetime 300 --refresh-buffer 140 --timeout 10 --survive 2m --kind timeout,refused,503 --moment due
