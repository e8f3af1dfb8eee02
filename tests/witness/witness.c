/* A client of crewd in C, written from docs/protocol.md alone: the witness that the page says what the wire does.
 *
 * witness ENDPOINT DIRECTORY: says hello, starts a run, steers it (twice with one id), follows it by subscription with
 * a credit and from a sequence number, cancels another one, and says "ok" after each. Anything else ends it with code 1.
 */
#include "wire.h"

static void hear(void) { need(heard(), "no answer"); }
/* The reply to this request; what belongs to others is passed over. */
static void reply(const char *request, const char *expected) {
    do hear();
    while (strcmp(id, request));
    if (strcmp(kind, expected)) {
        char text[512] = "";
        if (!strcmp(kind, "error")) copy(get(get(body, "error"), "message"), text, sizeof text);
        fprintf(stderr, "witness: %s answered by %s %s\n", request, kind, text);
        exit(1);
    }
}

static void steer(const char *request, const char *message, const char *run, const char *text) {
    map(5);
    str("id"), str(message);
    str("kind"), str("steer");
    str("target"), str(run);
    str("text"), str(text);
    str("wait"), str("applied");
    ask("send", request);
}

static void start(const char *request, const char *directory, char *run) {
    map(3);
    str("cwd"), str(directory);
    str("request_id"), str(request);
    str("workflow"), map(3);
    str("name"), str("seen-from-c");
    str("labels"), map(1), str("by"), str("witness");
    str("steps"), array(1), map(2);
    str("id"), str("listen");
    str("worker"), map(1), str("call"), str("jobs:listen");
    ask("start_run", request);
    reply(request, "run");
    copy(get(get(body, "run"), "id"), run, 64);
}

static void subscribe(const char *request, const char *run, uint64_t after) {
    map(5);
    str("target"), str(run);
    str("after"), whole(after);
    str("progress"), boolean(0);
    str("credit"), whole(4);
    str("types"), array(3), str("message.*"), str("task_ended"), str("run_ended");
    ask("subscribe", request);
    reply(request, "subscribed");
}
/* All events of the subscription until the run has ended; the seq of the first one. */
static uint64_t follow(const char *request, uint64_t after, int *count) {
    uint64_t last = after, first = 0;
    for (*count = 0;;) {
        hear();
        if (strcmp(id, request) || strcmp(kind, "event")) continue;
        const uint8_t *event = get(body, "event");
        uint64_t seq = number(get(event, "seq"));
        need(number(get(body, "previous")) == last, "an event is missing");
        need(seq > last, "seqs grow");
        last = seq;
        first = first ? first : seq;
        ++*count;
        int over = is(get(get(event, "body"), "type"), "run.ended");
        need(over == is(get(body, "kind"), "run_ended"), "the kind does not fit the type");
        map(2);
        str("id"), str(request);
        str("upto"), whole(seq);
        ask("credit", "c");
        if (over) return first;
    }
}

int main(int argc, char **argv) {
    char run[64], message[32], other[64];
    int zero = 0, patience = 30000, count, again;
    need(argc == 3, "usage: witness ENDPOINT DIRECTORY");
    void *context = zmq_ctx_new();
    sock = zmq_socket(context, DEALER);
    zmq_setsockopt(sock, LINGER, &zero, sizeof zero);
    zmq_setsockopt(sock, RCVTIMEO, &patience, sizeof patience);
    need(!zmq_connect(sock, argv[1]), "no connection");

    map(3);
    str("owner"), str("witness");
    str("key"), str("a key that nobody else has, made by hand");
    str("software"), str("c");
    ask("hello", "0");
    reply("0", "welcome");
    char owner[64];
    copy(get(body, "owner"), owner, sizeof owner);
    need(!strncmp(owner, "witness:", 8) && strlen(owner) == 24, "the owner is the name and 16 hex digits");
    puts("ok hello");

    start("1", argv[2], run);
    puts("ok run");

    make_id(message, "m_");
    steer("2", message, run, "from C");
    reply("2", "receipt");
    need(is(get(get(body, "receipt"), "level"), "applied") || is(get(get(body, "receipt"), "level"), "settled"), "not applied");
    steer("3", message, run, "from C");
    reply("3", "receipt");
    need(is(get(get(body, "receipt"), "id"), message), "the same id has the same receipt");
    steer("4", message, run, "something else");
    reply("4", "error");
    need(is(get(get(body, "error"), "code"), "conflict"), "an id with other content is a conflict");
    make_id(message, "m_");
    steer("5", message, run, "stop");
    puts("ok steer");

    subscribe("6", run, 0);
    uint64_t first = follow("6", 0, &count);
    need(count >= 6, "two messages are accepted and settled, a task and a run end");
    subscribe("7", run, first);
    follow("7", first, &again);
    need(again == count - 1, "from a sequence number on, all that follows and nothing else");
    puts("ok subscribe");

    start("8", argv[2], other);
    map(2);
    str("target"), str(other);
    str("mode"), str("now");
    ask("cancel", "9");
    reply("9", "cancelled");
    need(is(get(body, "status"), "cancelled") && *get(body, "verified") == 0xc3, "the cancel is proved");
    puts("ok cancel");

    map(1);
    str("target"), str(run);
    ask("await_end", "10");
    reply("10", "ended");
    need(is(get(get(body, "run"), "status"), "completed"), "the run is completed");
    puts("ok end");
    zmq_close(sock);
    zmq_ctx_term(context);
    return 0;
}
