/* A client of crewd in C, written from docs/protocol.md alone: the witness that the page says what the wire does.
 *
 * witness ENDPOINT DIRECTORY: says hello, starts a run, steers it (twice with one id), follows it by subscription with
 * a credit and from a sequence number, cancels another one, and says "ok" after each. Anything else ends it with code 1.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

extern void *zmq_ctx_new(void);
extern void *zmq_socket(void *, int);
extern int zmq_connect(void *, const char *);
extern int zmq_setsockopt(void *, int, const void *, size_t);
extern int zmq_send(void *, const void *, size_t, int);
extern int zmq_recv(void *, void *, size_t, int);
extern int zmq_getsockopt(void *, int, void *, size_t *);
extern int zmq_close(void *);
extern int zmq_ctx_term(void *);
enum { DEALER = 5, RCVMORE = 13, LINGER = 17, RCVTIMEO = 27, SNDMORE = 2 };

static void *sock;

static void fail(const char *what) {
    fprintf(stderr, "witness: %s\n", what);
    exit(1);
}

static void need(int truth, const char *what) {
    if (!truth) fail(what);
}

/* -- MessagePack: what the page allows, written and skipped ----------------------------------------------------------- */

static uint8_t out[65536];
static size_t out_n;

static void put(const void *bytes, size_t n) {
    need(out_n + n <= sizeof out, "a request is too long");
    memcpy(out + out_n, bytes, n);
    out_n += n;
}
static void byte(uint8_t b) { put(&b, 1); }
static void map(int n) { byte(0x80 | n); }
static void array(int n) { byte(0x90 | n); }
static void str(const char *s) {
    size_t n = strlen(s);
    if (n < 32) byte(0xa0 | n);
    else byte(0xd9), byte((uint8_t)n);
    put(s, n);
}
static void whole(uint64_t v) {
    byte(0xcf);
    for (int shift = 56; shift >= 0; shift -= 8) byte((uint8_t)(v >> shift));
}
static void boolean(int v) { byte(v ? 0xc3 : 0xc2); }

static uint64_t big(const uint8_t *p, int n) {
    uint64_t v = 0;
    while (n--) v = v << 8 | *p++;
    return v;
}
/* The value after the one at p; *len, *body and *count say what p is, if it is a string, array or map. */
static const uint8_t *over(const uint8_t *p, const uint8_t **body, size_t *len, size_t *count) {
    uint8_t t = *p++;
    size_t n = 0, kids = 0;
    if (body) *body = 0;
    if (t <= 0x7f || t >= 0xe0 || t == 0xc0 || t == 0xc2 || t == 0xc3) return p;
    if ((t & 0xe0) == 0xa0) n = t & 31;
    else if ((t & 0xf0) == 0x80) kids = 2 * (t & 15);
    else if ((t & 0xf0) == 0x90) kids = t & 15;
    else switch (t) {
        case 0xcc: case 0xd0: return p + 1;
        case 0xcd: case 0xd1: return p + 2;
        case 0xce: case 0xd2: case 0xca: return p + 4;
        case 0xcf: case 0xd3: case 0xcb: return p + 8;
        case 0xc4: case 0xd9: n = *p++; break;
        case 0xc5: case 0xda: n = big(p, 2), p += 2; break;
        case 0xc6: case 0xdb: n = big(p, 4), p += 4; break;
        case 0xdc: kids = big(p, 2), p += 2; break;
        case 0xdd: kids = big(p, 4), p += 4; break;
        case 0xde: kids = 2 * big(p, 2), p += 2; break;
        case 0xdf: kids = 2 * big(p, 4), p += 4; break;
        default: fail("a MessagePack type that the page forbids");
        }
    if (body) *body = p, *len = n, *count = kids;
    p += n;
    while (kids--) p = over(p, 0, 0, 0);
    return p;
}
/* The value of a key in the map at p; 0 if it is not there. */
static const uint8_t *get(const uint8_t *p, const char *key) {
    const uint8_t *at, *k;
    size_t len, pairs, unused;
    over(p, &at, &len, &pairs);
    need(at && pairs % 2 == 0, "a map was expected");
    for (pairs /= 2; pairs; pairs--) {
        const uint8_t *value = over(at, &k, &len, &unused);
        if (k && len == strlen(key) && !memcmp(k, key, len)) return value;
        at = over(value, 0, 0, 0);
    }
    return 0;
}
static int is(const uint8_t *p, const char *text) {
    const uint8_t *s;
    size_t len, unused;
    if (!p) return 0;
    over(p, &s, &len, &unused);
    return s && len == strlen(text) && !memcmp(s, text, len);
}
static uint64_t number(const uint8_t *p) {
    need(p != 0, "a number is missing");
    switch (*p) {
    case 0xcc: return p[1];
    case 0xcd: return big(p + 1, 2);
    case 0xce: return big(p + 1, 4);
    case 0xcf: return big(p + 1, 8);
    default: need(*p <= 0x7f, "a number was expected"); return *p;
    }
}
static void copy(const uint8_t *p, char *to, size_t most) {
    const uint8_t *s;
    size_t len, unused;
    need(p != 0, "a text is missing");
    over(p, &s, &len, &unused);
    need(s && len < most, "a text was expected");
    memcpy(to, s, len);
    to[len] = 0;
}

/* -- frames ----------------------------------------------------------------------------------------------------------- */

static char kind[64], id[80];
static uint8_t body[1 << 20];

static void ask(const char *what, const char *request) {
    zmq_send(sock, "CREWD\x01", 6, SNDMORE);
    zmq_send(sock, what, strlen(what), SNDMORE);
    zmq_send(sock, request, strlen(request), SNDMORE);
    zmq_send(sock, out, out_n, 0);
    out_n = 0;
}
static void hear(void) {
    uint8_t header[16];
    int more, n;
    size_t size = sizeof more;
    need(zmq_recv(sock, header, sizeof header, 0) == 6 && !memcmp(header, "CREWD\x01", 6), "crewd's header was expected");
    need((n = zmq_recv(sock, kind, sizeof kind - 1, 0)) >= 0, "no kind"), kind[n] = 0;
    need((n = zmq_recv(sock, id, sizeof id - 1, 0)) >= 0, "no id"), id[n] = 0;
    need(zmq_recv(sock, body, sizeof body, 0) >= 0, "no body");
    zmq_getsockopt(sock, RCVMORE, &more, &size);
    need(!more, "a message has four frames");
}
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

static void message_id(char *to) {
    static const char digits[] = "0123456789abcdefghjkmnpqrstvwxyz";
    static uint64_t count;
    uint64_t high = (uint64_t)time(0) * 1000 << 16 | 0x7000 | (++count & 0xfff), low = 1ull << 63 | (uint64_t)rand() << 20 | count;
    strcpy(to, "m_");
    for (int n = 0; n < 26; n++) { /* 130 bits from the left, the first two of them zero */
        int shift = 125 - 5 * n;
        uint64_t five = shift >= 64 ? high >> (shift - 64) : low >> shift | (shift > 59 ? high << (64 - shift) : 0);
        to[2 + n] = digits[five & 31];
    }
    to[28] = 0;
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
    srand((unsigned)time(0));
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

    message_id(message);
    steer("2", message, run, "from C");
    reply("2", "receipt");
    need(is(get(get(body, "receipt"), "level"), "applied") || is(get(get(body, "receipt"), "level"), "settled"), "not applied");
    steer("3", message, run, "from C");
    reply("3", "receipt");
    need(is(get(get(body, "receipt"), "id"), message), "the same id has the same receipt");
    steer("4", message, run, "something else");
    reply("4", "error");
    need(is(get(get(body, "error"), "code"), "conflict"), "an id with other content is a conflict");
    message_id(message);
    steer("5", message, run, "stop");
    puts("ok steer");

    subscribe("6", run, 0);
    uint64_t first = follow("6", 0, &count);
    need(count >= 10, "two messages, a task and a run have more events");
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
