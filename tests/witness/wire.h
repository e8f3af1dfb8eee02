/* What every witness needs: MessagePack and frames, as docs/protocol.md says. Written without crewd's sources. */
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
enum { DEALER = 5, RCVMORE = 13, LINGER = 17, RCVTIMEO = 27, IMMEDIATE = 39, DONTWAIT = 1, SNDMORE = 2 };

static void *sock;

static inline void fail(const char *what) {
    fprintf(stderr, "witness: %s\n", what);
    exit(1);
}

static inline void need(int truth, const char *what) {
    if (!truth) fail(what);
}

/* -- MessagePack: what the page allows, written and skipped ----------------------------------------------------------- */

static uint8_t out[65536];
static size_t out_n;

static inline void put(const void *bytes, size_t n) {
    need(out_n + n <= sizeof out, "a message is too long");
    memcpy(out + out_n, bytes, n);
    out_n += n;
}
static inline void byte(uint8_t b) { put(&b, 1); }
static inline void map(int n) { byte(0x80 | n); }
static inline void array(int n) { byte(0x90 | n); }
static inline void str(const char *s) {
    size_t n = strlen(s);
    if (n < 32) byte(0xa0 | n);
    else if (n < 256) byte(0xd9), byte((uint8_t)n);
    else byte(0xda), byte((uint8_t)(n >> 8)), byte((uint8_t)n);
    put(s, n);
}
static inline void whole(uint64_t v) {
    byte(0xcf);
    for (int shift = 56; shift >= 0; shift -= 8) byte((uint8_t)(v >> shift));
}
static inline void boolean(int v) { byte(v ? 0xc3 : 0xc2); }

static inline uint64_t big(const uint8_t *p, int n) {
    uint64_t v = 0;
    while (n--) v = v << 8 | *p++;
    return v;
}
/* The value after the one at p; *len, *body and *count say what p is, if it is a string, array or map. */
static inline const uint8_t *over(const uint8_t *p, const uint8_t **body, size_t *len, size_t *count) {
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
static inline const uint8_t *get(const uint8_t *p, const char *key) {
    const uint8_t *at, *k;
    size_t len, pairs, unused;
    need(p != 0, "a map is missing");
    over(p, &at, &len, &pairs);
    need(at && pairs % 2 == 0, "a map was expected");
    for (pairs /= 2; pairs; pairs--) {
        const uint8_t *value = over(at, &k, &len, &unused);
        if (k && len == strlen(key) && !memcmp(k, key, len)) return value;
        at = over(value, 0, 0, 0);
    }
    return 0;
}
static inline int is(const uint8_t *p, const char *text) {
    const uint8_t *s;
    size_t len, unused;
    if (!p) return 0;
    over(p, &s, &len, &unused);
    return s && len == strlen(text) && !memcmp(s, text, len);
}
static inline uint64_t number(const uint8_t *p) {
    need(p != 0, "a number is missing");
    switch (*p) {
    case 0xcc: return p[1];
    case 0xcd: return big(p + 1, 2);
    case 0xce: return big(p + 1, 4);
    case 0xcf: return big(p + 1, 8);
    default: need(*p <= 0x7f, "a number was expected"); return *p;
    }
}
static inline double real(const uint8_t *p) {
    need(p != 0, "a number is missing");
    uint64_t bits = *p == 0xcb ? big(p + 1, 8) : 0;
    uint32_t half = *p == 0xca ? (uint32_t)big(p + 1, 4) : 0;
    double twice;
    float once;
    memcpy(&twice, &bits, sizeof twice);
    memcpy(&once, &half, sizeof once);
    return *p == 0xcb ? twice : *p == 0xca ? once : (double)number(p);
}
static inline void copy(const uint8_t *p, char *to, size_t most) {
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

/* Send what is in `out` as the body of a message. With nobody to send it to it is lost: all that matters is said again. */
static inline void ask(const char *what, const char *request) {
    if (zmq_send(sock, "CREWD\x01", 6, SNDMORE | DONTWAIT) == 6) {
        zmq_send(sock, what, strlen(what), SNDMORE);
        zmq_send(sock, request, strlen(request), SNDMORE);
        zmq_send(sock, out, out_n, 0);
    }
    out_n = 0;
}
/* The next message into `kind`, `id` and `body`; 0 if the socket's patience ended before it came. */
static inline int heard(void) {
    uint8_t header[16];
    int more, n = zmq_recv(sock, header, sizeof header, 0);
    size_t size = sizeof more;
    if (n < 0) return 0;
    need(n == 6 && !memcmp(header, "CREWD\x01", 6), "crewd's header was expected");
    need((n = zmq_recv(sock, kind, sizeof kind - 1, 0)) >= 0 && n < (int)sizeof kind, "no kind"), kind[n] = 0;
    need((n = zmq_recv(sock, id, sizeof id - 1, 0)) >= 0 && n < (int)sizeof id, "no id"), id[n] = 0;
    need((n = zmq_recv(sock, body, sizeof body, 0)) >= 0 && n <= (int)sizeof body, "no body");
    zmq_getsockopt(sock, RCVMORE, &more, &size);
    need(!more, "a message has four frames");
    return 1;
}

/* The prefix and the 26 digits of a UUIDv7; `to` has room for 29 characters. */
static inline void make_id(char *to, const char *prefix) {
    static const char digits[] = "0123456789abcdefghjkmnpqrstvwxyz";
    static uint64_t count;
    uint64_t chance = 0;
    FILE *random = fopen("/dev/urandom", "rb");
    need(random && fread(&chance, sizeof chance, 1, random) == 1, "nothing is random");
    fclose(random);
    uint64_t high = (uint64_t)time(0) * 1000 << 16 | 0x7000 | (++count & 0xfff), low = 1ull << 63 | chance >> 2;
    strcpy(to, prefix);
    for (int n = 0; n < 26; n++) { /* 130 bits from the left, the first two of them zero */
        int shift = 125 - 5 * n;
        uint64_t five = shift >= 64 ? high >> (shift - 64) : low >> shift | (shift > 59 ? high << (64 - shift) : 0);
        to[2 + n] = digits[five & 31];
    }
    to[28] = 0;
}
