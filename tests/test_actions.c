/* The generator behind the demo of video: what happens in each of the 12 actions, as their names say, and how
 * a thing is put into a frame.
 * link: tools/data/[b-z]*.c tools/draw.c
 */
#include "../tools/data/actions.c"
#include "test.h"

enum { STEPS = 200 };
static double apart(const state *a, const state *b) { return hypot(a->x - b->x, a->y - b->y); }
static int still(const state *a, const state *b) {
    return apart(a, b) < 1e-9 && fabs(a->size - b->size) < 1e-9 && fabs(a->angle - b->angle) < 1e-9;
}
static void actions(void) {
    fv_rng g = {1, 1, 0};
    for (int turn = 0; turn < 300; turn++)
        for (int action = 0; action < ACTIONS; action++) {
            static state a[STEPS + 1], b[STEPS + 1];
            double p[12];
            const char *name = action_name[action];
            for (int k = 0; k < 12; k++) p[k] = (double)fv_rng_uniform(&g);
            for (int i = 0; i <= STEPS; i++) act(action, p, (double)i / STEPS, &a[i], &b[i]);
            const state *first = a, *last = a + STEPS;
            double touch = 0.42 * (a->size + b->size), least = 99;
            int moved = 0, b_moves = STEPS + 1, a_moves = -1;
            for (int i = 1; i <= STEPS; i++) {
                double dx = a[i].x - a[i - 1].x, dy = a[i].y - a[i - 1].y, grown = a[i].size - a[i - 1].size,
                       turned = a[i].angle - a[i - 1].angle,
                       gap = apart(&a[i], &b[i]) - apart(&a[i - 1], &b[i - 1]);
                if (apart(&b[i], &b[i - 1]) > 1e-9 && b_moves > i) b_moves = i;
                if (apart(&a[i], &a[i - 1]) > 1e-9) a_moves = i;
                least = fmin(least, apart(&a[i], &b[i]));
                moved |= apart(&a[i], first) > 1e-9;
                CHECK(action == 10 || still(&b[i], b), "%s: B moves", name);
                CHECK(action == 4 || action == 5 || fabs(grown) < 1e-9, "%s: another size", name);
                CHECK(action == 6 || action == 7 || fabs(turned) < 1e-9, "%s: turned", name);
                int right = action == 0   ? dx > 0 && fabs(dy) < 1e-9
                            : action == 1 ? dx < 0 && fabs(dy) < 1e-9
                            : action == 2 ? dy < 0 && fabs(dx) < 1e-9 /* y goes down */
                            : action == 3 ? dy > 0 && fabs(dx) < 1e-9
                            : action == 4 ? grown > 0
                            : action == 5 ? grown < 0
                            : action == 6 ? turned > 0
                            : action == 7 ? turned < 0
                            : action == 8 ? gap < 1e-9
                            : action == 9 ? gap > -1e-9
                                          : 1;
                CHECK(right, "%s: step %d", name, i);
            }
            double way = apart(last, first), start = apart(a, b), end = apart(last, b + STEPS);
            if (action < 4)
                CHECK(way > 17.9 && way < 30.1 && first->x > 5 && first->x < SIDE - 5 && last->x > 5 &&
                          last->x < SIDE - 5 && first->y > 5 && last->y > 5 && first->y < SIDE - 5 &&
                          last->y < SIDE - 5,
                      "%s: by %g", name, way);
            else if (action < 8) CHECK(!moved, "%s: and goes elsewhere", name);
            if (action == 4 || action == 5)
                CHECK(fmin(first->size, last->size) < 11.01 && fabs(last->size - first->size) > 9.9,
                      "%s: %g to %g", name, first->size, last->size);
            else
                CHECK(a->size > 14.9 && a->size < 20.1 && b->size > 14.9 && b->size < 20.1, "%s: %g", name,
                      a->size);
            if (action == 6 || action == 7)
                CHECK(fabs(last->angle - first->angle) > 1.99 && fabs(last->angle - first->angle) < 3.21,
                      "%s", name);
            if (action == 8)
                CHECK(fabs(end - touch) < 1e-9 && start > touch + 11.9 && start < touch + 20.1,
                      "%s: %g to %g, touch %g", name, start, end, touch);
            if (action == 9)
                CHECK(fabs(start - touch) < 1e-9 && end > touch + 6, "%s: %g to %g, touch %g", name, start,
                      end, touch);
            if (action == 10)
                CHECK(
                    start > touch + 11.9 && fabs(least - touch) < 1 && end > touch + 4 && b_moves <= STEPS &&
                        a_moves <= b_moves && b_moves > 0.3 * STEPS && b_moves < 0.7 * STEPS,
                    "%s: A to step %d, B from %d on, %g, %g, %g", name, a_moves, b_moves, start, least, end);
            if (action == 11)
                CHECK(fabs(least - 0.8 * touch) < 1e-6 && fabs(start - end) < 1e-6 &&
                          fabs(start - hypot(12 + 8 * p[0], 0.8 * touch)) < 1e-9,
                      "%s: %g, %g, %g", name, start, least, end);
        }
}

/* a red bar at the right edge of a thing, half seen through */
static void pasted(void) {
    static uint8_t thing[SMALL_W * SMALL_H * 4], rgb[SIDE * SIDE * 3];
    for (int i = 0; i < SMALL_W * SMALL_H; i++)
        if (i % SMALL_W >= 28) thing[4 * i] = 200, thing[4 * i + 3] = 128;
    for (int turn = 0; turn < 8; turn++) {
        state s = {24, 22, turn < 4 ? SMALL_W : SMALL_W / 2.0, turn % 4 * 1.5707963267948966};
        double sum = 0, x = 0, y = 0, scale = turn < 4 ? 1 : 0.5;
        memset(rgb, 100, sizeof rgb);
        paste(rgb, thing, &s);
        for (int i = 0; i < SIDE * SIDE; i++) {
            double more = rgb[3 * i] - 100; /* 50 where all of it is red */
            CHECK(more > -0.5 && more < 51 && rgb[3 * i + 1] <= 100 && rgb[3 * i + 1] >= 49, "pixel %d", i);
            sum += more, x += more * (i % SIDE + 0.5), y += more * (i / SIDE + 0.5);
        }
        /* clockwise: right, down, left, up */
        static const int way[4][2] = {{1, 0}, {0, 1}, {-1, 0}, {0, -1}};
        CHECK(fabs(sum / (50 * 6 * SMALL_H * scale * scale) - 1) < 0.08 &&
                  fabs(x / sum - 24 - 14 * scale * way[turn % 4][0]) < 0.3 &&
                  fabs(y / sum - 22 - 14 * scale * way[turn % 4][1]) < 0.3,
              "turn %d: %g of red at %g, %g", turn, sum, x / sum, y / sum);
    }
}

int main(void) {
    RUN(actions);
    RUN(pasted);
    return REPORT();
}
