# The tree of a worker that is a command: c1 (same group), c2 (a session of its own), g (a child of c2). Then it waits at the
# gate, a fifo, and ends when somebody opens it. Further generations do the same below it, every second one in a new session.
# usage: sh tree.sh VARIANT SECONDS GATE GENERATIONS
variant=$1 seconds=$2 gate=$3 generations=$4
case $variant in
deaf) trap '' TERM ;; # what is ignored stays ignored in everything that is executed below
esac
case $variant in
nohup)
    nohup sleep "$seconds" &
    nohup setsid sh -c "sleep $seconds & wait" &
    ;;
daemon)
    sleep "$seconds" &
    (setsid sh -c "sleep $seconds & wait" &) # its parent is gone at once
    ;;
*)
    sleep "$seconds" &
    setsid sh -c "sleep $seconds & wait" &
    ;;
esac
if [ "$generations" -gt 1 ]; then
    new_session=
    [ $((generations % 2)) -eq 0 ] && new_session=setsid
    $new_session sh "$0" "$variant" "$seconds" "$gate" $((generations - 1)) &
fi
: <"$gate"
