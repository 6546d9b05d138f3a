#!/bin/sh
# Waits until this EC2 instance has its role; fails if it doesn't get it in time. Needs curl.
# `rolekeeper launches boot-script` prints this.
#
#   wait-for-role.sh [ROLE [TIMEOUT]]
#
# ROLE      the role to wait for, by name; any role by default
# TIMEOUT   the longest wait, in seconds; 300 by default
#
# User data has no arguments: set the variables there, and add below what needs the role.
#
# To put an instance of an Auto Scaling group into service only then, give the group a launch lifecycle hook, and set
# LIFECYCLE_HOOK and AUTO_SCALING_GROUP to the names of both: the AWS CLI then completes the hook. The role has to allow
# autoscaling:CompleteLifecycleAction on the group.
set -eu

ROLE=${1:-${ROLE:-}}
TIMEOUT=${2:-${TIMEOUT:-300}}
LIFECYCLE_HOOK=${LIFECYCLE_HOOK:-}
AUTO_SCALING_GROUP=${AUTO_SCALING_GROUP:-}
wanted=${ROLE:+the role $ROLE}

imds=${AWS_EC2_METADATA_SERVICE_ENDPOINT:-http://169.254.169.254}
imds=${imds%/}/latest
deadline=$(($(date +%s) + TIMEOUT))

fail() {
  echo "wait-for-role: $1" >&2
  exit 1
}

# Asks the instance metadata service (IMDSv2), never through a proxy.
ask() {
  curl --silent --fail --noproxy '*' --max-time 2 "$@"
}

metadata() {
  token=$(ask --request PUT --header 'X-aws-ec2-metadata-token-ttl-seconds: 60' "$imds/api/token") || return 99
  ask --header "X-aws-ec2-metadata-token: $token" "$imds/meta-data/$1"
}

# Says which role has credentials here, and succeeds if it is the right one.
has_role() {
  named=$(metadata iam/security-credentials/) || {
    if [ $? -eq 99 ]; then seen="no answer from $imds"; else seen='it has no role'; fi
    return 1
  }
  seen="it has ${named:+the role }${named:-no role}"
  [ -n "$named" ] && [ "$named" = "${ROLE:-$named}" ] || return 1
  case $(metadata "iam/security-credentials/$named" || true) in
    *\"Code\"*:*\"Success\"*) ;;
    *) seen="$seen without credentials" && return 1 ;;
  esac
}

# Repeats a command once a second until it succeeds; fails when the time is over.
until_deadline() {
  until "$@"; do
    [ "$(date +%s)" -lt "$deadline" ] || return 1
    sleep 1
  done
}

[ "${LIFECYCLE_HOOK:+set}" = "${AUTO_SCALING_GROUP:+set}" ] ||
  fail 'set both LIFECYCLE_HOOK and AUTO_SCALING_GROUP, or none of them'

until_deadline has_role || {
  id=$(metadata instance-id) && seen="$seen; to see why: rolekeeper explain $id"
  fail "waited $TIMEOUT s for ${wanted:-a role}: $seen"
}
echo "wait-for-role: $seen"

complete() {
  aws autoscaling complete-lifecycle-action --lifecycle-action-result CONTINUE \
    --lifecycle-hook-name "$LIFECYCLE_HOOK" --auto-scaling-group-name "$AUTO_SCALING_GROUP" \
    --instance-id "$(metadata instance-id)" --region "$(metadata placement/region)"
}

if [ -n "$LIFECYCLE_HOOK" ]; then
  # A new role's permissions, and the hook's wait, may begin a moment later.
  deadline=$(($(date +%s) + 60))
  until_deadline complete || fail "could not complete the lifecycle hook $LIFECYCLE_HOOK of $AUTO_SCALING_GROUP"
fi
