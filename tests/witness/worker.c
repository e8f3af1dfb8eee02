/* A worker of crewd in C, written from docs/protocol.md alone: the witness that the page says what a worker must do.
 *
 * worker [GATE]        opens an operation, asks a question, takes a steer, then follow-ups until crewd lets it stop.
 * worker alone GATE    takes no messages and asks nothing.
 *
 * With a GATE it begins when this file is there, and removes it when it has said what follows. It is ended by a cancel.
 */
#include <unistd.h>

#include "wire.h"

enum { KEPT_MAX = 1024, TAKEN_MAX = 7, TEXT_MAX = 4096 };
enum { HELLOS_MAX = 10 };
#define HELLO_SECONDS 0.55  /* no more than two hellos a second */
#define ACK_SECONDS 3.0     /* without an ack: say hello, and all reports again */
#define SILENCE_SECONDS 6.0 /* without a word: a connection may have broken and come back */

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + 1e-9 * (double)at.tv_nsec;
}

/* -- birth ------------------------------------------------------------------------------------------------------------ */

static char task[256], token[256], endpoint[256], directory[4096], goal[TEXT_MAX + 1];
static uint64_t epoch;
static int alone;

static void born(void) {
    static uint8_t map[1 << 20];
    const char *path = getenv("CREWD_BOOTSTRAP");
    need(path != 0, "CREWD_BOOTSTRAP is not set");
    FILE *file = fopen(path, "rb");
    need(file && fread(map, 1, sizeof map, file) > 0, "the bootstrap cannot be read");
    fclose(file);
    need(!unlink(path), "the bootstrap cannot be removed");
    copy(get(map, "task"), task, sizeof task);
    copy(get(map, "token"), token, sizeof token);
    copy(get(map, "endpoint"), endpoint, sizeof endpoint);
    copy(get(map, "directory"), directory, sizeof directory);
    copy(get(map, "goal"), goal, sizeof goal);
    epoch = number(get(map, "epoch"));
}

/* -- the connection --------------------------------------------------------------------------------------------------- */

static void *context;
static int greeted, unanswered, welcomes;
static double hello_at, heartbeat_at, heard_at, ack_at, heartbeat_seconds = 2;
static uint64_t beats;

static void connect_anew(void) {
    int zero = 0, yes = 1, patience = 50;
    if (sock) zmq_close(sock);
    need((sock = zmq_socket(context, DEALER)) != 0, "no socket");
    zmq_setsockopt(sock, LINGER, &zero, sizeof zero);
    zmq_setsockopt(sock, IMMEDIATE, &yes, sizeof yes); /* hellos do not pile up while nobody listens */
    zmq_setsockopt(sock, RCVTIMEO, &patience, sizeof patience);
    need(!zmq_connect(sock, endpoint), "no connection");
    unanswered = 0;
}

static void hello(void) {
    if (now() < hello_at + HELLO_SECONDS) return;
    if (unanswered++ >= HELLOS_MAX) connect_anew();
    map(6);
    str("task"), str(task);
    str("epoch"), whole(epoch);
    str("token"), str(token);
    str("pid"), whole((uint64_t)getpid());
    str("capabilities"), array(alone ? 0 : 2);
    if (!alone) str("steer"), str("follow_up");
    str("software"), str("witness/1");
    ask("hello", "h");
    hello_at = now();
}

/* -- reports ---------------------------------------------------------------------------------------------------------- */

static struct { uint8_t *bytes; size_t n; } kept[KEPT_MAX]; /* by number: each until it is acknowledged */
static uint64_t newest, acked;

static void send_report(uint64_t number) {
    char batch[32];
    snprintf(batch, sizeof batch, "r%llu", (unsigned long long)number);
    map(1);
    str("reports"), array(1), put(kept[number % KEPT_MAX].bytes, kept[number % KEPT_MAX].n);
    ask("reports", batch);
}
/* Begin a report whose body has so many keys besides `type`; `hold` ends it, `said` sends it, too. */
static void report(const char *type, int keys) {
    need(newest - acked < KEPT_MAX, "too many reports are not acknowledged");
    if (newest == acked) ack_at = now();
    map(2);
    str("number"), whole(++newest);
    str("body"), map(1 + keys);
    str("type"), str(type);
}
static void hold(void) {
    uint8_t **bytes = &kept[newest % KEPT_MAX].bytes;
    need((*bytes = malloc(out_n)) != 0, "no memory");
    memcpy(*bytes, out, kept[newest % KEPT_MAX].n = out_n);
    out_n = 0;
}
static void said(void) {
    hold();
    if (greeted) send_report(newest);
}
static void acknowledged(uint64_t upto) {
    need(upto <= newest, "what was never said is acknowledged");
    for (; acked < upto; ack_at = now()) free(kept[++acked % KEPT_MAX].bytes);
}
/* All that is not acknowledged, in the file where the guardian finds it. */
static void leave_unsent_reports(void) {
    char path[4200], other[4210];
    snprintf(path, sizeof path, "%s/unsent_reports", directory);
    snprintf(other, sizeof other, "%s.new", path);
    FILE *file = fopen(other, "wb");
    need(file != 0, "unsent_reports cannot be written");
    fputc(0xdc, file), fputc((int)((newest - acked) >> 8), file), fputc((int)((newest - acked) & 255), file);
    for (uint64_t n = acked + 1; n <= newest; n++) fwrite(kept[n % KEPT_MAX].bytes, kept[n % KEPT_MAX].n, 1, file);
    need(!fflush(file) && !fsync(fileno(file)) && !fclose(file) && !rename(other, path), "unsent_reports cannot be written");
}

static void about(const char *type, const char *message) {
    report(type, 1);
    str("id"), str(message);
    said();
}
static void settle(const char *message, const char *outcome, const char *reason, const char *note) {
    report("settled", 4);
    str("id"), str(message);
    str("outcome"), str(outcome);
    str("reason"), str(reason);
    str("note"), str(note);
    said();
}
static void progress(int done, int total, const char *note) {
    beats++;
    map(4);
    str("done"), whole((uint64_t)done);
    str("total"), whole((uint64_t)total);
    str("note"), str(note);
    str("beats"), whole(beats);
    if (greeted) ask("progress", "p");
    out_n = 0;
    report("sampled", 4);
    str("count"), whole(beats);
    str("done"), whole((uint64_t)done);
    str("total"), whole((uint64_t)total);
    str("note"), str(note);
    said();
}

/* -- what the worker hears -------------------------------------------------------------------------------------------- */

struct message {
    char id[72], text[TEXT_MAX + 1];
    uint64_t turn;
    int next_turn, waits;
};
static struct message **mailbox; /* every one that was ever delivered: each is taken once */
static size_t mailbox_n;
static char question[32], answer[TEXT_MAX + 1]; /* `question` is empty when none is open */
static int answered, granted, deferred, cancelled, ended;

static struct message *known(const char *message) {
    for (size_t n = 0; n < mailbox_n; n++)
        if (!strcmp(mailbox[n]->id, message)) return mailbox[n];
    return 0;
}
static struct message *keep(const char *message) {
    mailbox = realloc(mailbox, (mailbox_n + 1) * sizeof *mailbox);
    need(mailbox && (mailbox[mailbox_n] = calloc(1, sizeof **mailbox)), "no memory");
    strcpy(mailbox[mailbox_n]->id, message);
    return mailbox[mailbox_n++];
}

/* The text of a message, and whether it has a length that this worker takes. */
static int text_of(char *to) {
    const uint8_t *text;
    size_t length, unused;
    need(get(body, "text") != 0, "a message without a text");
    over(get(body, "text"), &text, &length, &unused);
    if (!text || length > TEXT_MAX) return 0;
    copy(get(body, "text"), to, TEXT_MAX + 1);
    return 1;
}
static void respond(struct message *it, int fits) {
    if (!question[0] || !is(get(body, "ask"), question)) return settle(it->id, "refused", "no_such_ask", "");
    if (!fits) return settle(it->id, "refused", "does_not_fit", "this is too long");
    strcpy(answer, it->text);
    about("applied", it->id);
    report("ask_over", 3);
    str("id"), str(question);
    str("outcome"), str("answered");
    str("answered_by"), str(it->id);
    said();
    settle(it->id, "done", "", "");
    question[0] = 0, answered = 1;
}
static void delivered(void) {
    char message[72];
    copy(get(body, "id"), message, sizeof message);
    if (ended || cancelled || is(get(body, "kind"), "message") || known(message)) return;
    struct message *it = keep(message);
    int fits = text_of(it->text);
    about("delivered", message);
    if (is(get(body, "kind"), "response")) return respond(it, fits);
    if (!fits) return settle(message, "refused", "too_long", "");
    it->turn = number(get(body, "turn"));
    it->next_turn = is(get(body, "mode"), "next_turn");
    it->waits = 1;
}
static void recalled(void) {
    char message[72], outcome[16];
    copy(get(body, "id"), message, sizeof message);
    copy(get(body, "outcome"), outcome, sizeof outcome);
    struct message *it = known(message);
    if (ended || (it && !it->waits)) return; /* the code has taken it, or it was given back already */
    if (!it) it = keep(message);
    it->waits = 0;
    report("returned", 2);
    str("id"), str(message);
    str("outcome"), str(outcome);
    said();
}
static void welcomed(void) {
    uint64_t durable = number(get(body, "reports"));
    heartbeat_seconds = real(get(body, "heartbeat_seconds"));
    greeted = 1, unanswered = 0, welcomes++, ack_at = now();
    if (durable > acked) acknowledged(durable);
    for (uint64_t n = durable + 1; n <= newest; n++) send_report(n);
}
static void refused(void) {
    const uint8_t *code = get(get(body, "error"), "code");
    if (is(code, "not_permitted")) fail("not permitted");
    if (is(code, "malformed") && id[0] == 'r') fail("a report is malformed");
    if (is(code, "unavailable") || id[0] == 'h') greeted = 0; /* say hello again, not at once */
}
static void dispatch(void) {
    heard_at = now();
    if (!strcmp(kind, "welcome")) welcomed();
    else if (!strcmp(kind, "error")) refused();
    else if (!strcmp(kind, "ack")) acknowledged(number(get(body, "upto")));
    else if (!strcmp(kind, "deliver")) delivered();
    else if (!strcmp(kind, "recall")) recalled();
    else if (!strcmp(kind, "stop_granted")) granted = 1;
    else if (!strcmp(kind, "stop_deferred")) deferred = 1;
    else if (!strcmp(kind, "cancel")) cancelled = !ended;
}

/* A moment of the worker's life: hear one message, or none, and say what is due. */
static void live(void) {
    if (heard()) dispatch();
    if (newest > acked && now() > ack_at + ACK_SECONDS) greeted = 0;
    if (now() > heard_at + SILENCE_SECONDS) greeted = 0;
    if (!greeted) hello();
    else if (now() > heartbeat_at + heartbeat_seconds) {
        heartbeat_at = now();
        map(1);
        str("beats"), whole(beats);
        ask("heartbeat", "b");
    }
}

/* -- the worker's own code -------------------------------------------------------------------------------------------- */

static const char *steers[TAKEN_MAX], *follow_ups[TAKEN_MAX];
static int steers_n, follow_ups_n;
static uint64_t turn = 1;

/* Take the oldest message that waits, of this mode; 0 if there is none. */
static int take(int next_turn) {
    for (size_t n = 0; n < mailbox_n; n++) {
        struct message *it = mailbox[n];
        if (!it->waits || it->next_turn != next_turn) continue;
        it->waits = 0;
        if (it->turn && it->turn != turn) {
            settle(it->id, "refused", it->turn < turn ? "turn_is_over" : "no_such_turn", "");
            continue;
        }
        int *count = next_turn ? &follow_ups_n : &steers_n;
        if (*count == TAKEN_MAX) {
            settle(it->id, "refused", "too_many", "");
            continue;
        }
        (next_turn ? follow_ups : steers)[(*count)++] = it->text;
        about("applied", it->id);
        if (next_turn) turn++;
        progress((int)turn, 10, it->text);
        settle(it->id, "done", "", next_turn ? "followed" : "steered");
        return 1;
    }
    return 0;
}

static void wait_for_gate(const char *gate) {
    if (!gate) return;
    while (!cancelled && access(gate, F_OK)) live();
}

static void work(const char *gate) {
    report("op_opened", 3);
    str("id"), str("work");
    str("kind"), str("tool");
    str("name"), str("listen");
    said();
    progress(0, 10, "begun");
    wait_for_gate(gate);
    if (!alone && !cancelled) {
        make_id(question, "q_");
        report("asked", 2);
        str("id"), str(question);
        str("question"), str("which colour?");
        said();
        if (gate) unlink(gate);
        while (!cancelled && !answered) live();
        while (!cancelled && !take(0)) live();
    }
    if (cancelled && question[0]) {
        report("ask_over", 2);
        str("id"), str(question);
        str("outcome"), str("cancelled");
        said();
    }
    report("op_closed", 2);
    str("id"), str("work");
    str("outcome"), str(cancelled ? "cancelled" : "done");
    said();
}

/* Propose to stop, and take what waits, until crewd lets it. */
static void stop(void) {
    while (!cancelled && !granted) {
        deferred = 0;
        report("stop_proposed", 0);
        said();
        while (!cancelled && !granted && !deferred) live();
        double patience = now() + 0.5; /* the message may be still on its way, or was recalled */
        while (!cancelled && !granted && now() < patience) {
            while (take(0)) {}
            if (take(1)) break;
            live();
        }
    }
}

static void texts(const char *name, const char **of, int n) {
    str(name), array(n);
    for (int i = 0; i < n; i++) str(of[i]);
}

int main(int argc, char **argv) {
    alone = argc > 1 && !strcmp(argv[1], "alone");
    const char *gate = argv[1 + alone];
    born();
    context = zmq_ctx_new();
    connect_anew();
    heard_at = now(), hello_at = now() - HELLO_SECONDS;
    while (!welcomes) live();
    work(gate);
    if (!alone) stop();
    report("outcome", 2);
    str("outcome"), str(cancelled ? "cancelled" : "completed");
    str("result"), map(6);
    str("goal"), str(goal);
    str("answer"), str(answer);
    texts("steers", steers, steers_n);
    texts("follow_ups", follow_ups, follow_ups_n);
    str("turns"), whole(turn);
    str("welcomes"), whole((uint64_t)welcomes);
    ended = 1;
    hold();
    leave_unsent_reports(); /* before it is sent */
    if (greeted) send_report(newest);
    if (alone && gate) unlink(gate);
    double patience = now() + 2; /* if nobody acknowledges it, the guardian has the unsent reports */
    while (acked < newest && now() < patience) live();
    zmq_close(sock);
    zmq_ctx_term(context);
    return cancelled ? 3 : 0;
}
