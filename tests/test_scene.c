/* What scene-qa makes of a room: where things are as the questioner looks, what is named, types, padding.
 * link: tools/settings.c tools/profile.c tools/cli.c tools/draw.c tools/tasks/qa.c tools/data/scenes.c
 * link: tools/data/sqa3d.c tools/data/rooms.c tools/data/npy.c
 */
#include "../tools/run.c"
#include "../tools/tasks/scene_qa.c"
#include "test.h"

const task *const tasks[] = {&task_scene_qa, NULL};
const task *task_named(const char *name) { return strcmp(name, "scene-qa") ? NULL : &task_scene_qa; }

static void texts(void) {
    static const struct {
        const char *text, *label;
        int named;
    } is[] = {{"Is the bed left?", "bed", 1},
              {"Are there beds?", "bed", 1},
              {"Is it a bedside?", "bed", 0},
              {"embedded", "bed", 0},
              {"bed", "bed", 1},
              {"A bedside bed.", "bed", 1},
              {"the coffee table", "coffee table", 1},
              {"the table", "coffee table", 0},
              {"anything", "", 0}};
    static const char *const type[][2] = {{"What is it?", "what"}, {"Is it?", "is"},
                                          {"How many?", "how"},    {"can I?", "can"},
                                          {"Which one?", "which"}, {"Where is it?", "other"}};
    for (size_t i = 0; i < sizeof is / sizeof *is; i++)
        CHECK(names(is[i].text, is[i].label) == (float)is[i].named, "\"%s\" names %s or not", is[i].text,
              is[i].label);
    for (size_t i = 0; i < sizeof type / sizeof *type; i++)
        CHECK(!strcmp(type_of_question(type[i][0]), type[i][1]), "%s", type[i][0]);
}

/* two rooms of 1 and 3 objects, a question in each; with --shuffle the rooms are exchanged */
static void rooms(void) {
    static char *const text[2] = {"By the bed. Is the desk left?", "I sit. Where is the bed?"};
    static scene room[2];
    static qa_item item[2];
    /* at (1,2,0.5): looks along +x; along -y */
    pose at[2] = {{{1, 2, 0.5f}, {1, 0}}, {{1, 2, 0.5f}, {0, -1}}};
    const int32_t index[2] = {0, 1};
    int64_t F = SEEN + 2;
    fv_ctx *c = fv_create(NULL);
    fv_model m;
    run r;
    scene_data d;
    memset(&m, 0, sizeof m), memset(&r, 0, sizeof r), memset(&d, 0, sizeof d);
    r.c = c, r.model = &m, r.data = &d, m.num_classes = 3, d.q.filled = 1, r.count[1] = 2;
    d.scene = room, d.scenes = 2, d.labels = 2, d.pose[1] = at;
    d.q.split[1].item = item, d.q.split[1].count = 2;
    snprintf(d.label[0], 32, "bed"), snprintf(d.label[1], 32, "desk");
    put_number(&r.s, 'm', "max_words", 4), put_number(&r.s, 'm', "vocab_size", 9);
    for (int i = 0; i < 2; i++) {
        room[i].count = 1 + 2 * i, item[i].scene = i, item[i].words = 1, item[i].text = text[i];
        item[i].question = (int32_t)(strchr(text[i], '.') + 2 - text[i]);
        for (int k = 0; k < room[i].count; k++) { /* 3 m to +x, 4 m to +y, 1.5 m up; size 1,2,3 */
            scene_object *o = &room[i].object[k];
            for (int a = 0; a < 3; a++) o->size[a] = (float)(a + 1), o->colour[a] = 0.25f * (float)(a + 1);
            o->centre[0] = 4, o->centre[1] = 6, o->centre[2] = 2;
            snprintf(o->label, 32, "%s", k == 0 ? "desk" : k == 1 ? "bed" : "lamp");
        }
    }
    for (r.blind = 0; r.blind < 2; r.blind++) {
        batch b;
        memset(&b, 0, sizeof b), fv_reset(c);
        CHECK(scene_batch(&r, 1, index, 2, -1, &b) && b.inputs == 4 && b.input[2]->dim[1] == 3, "%s",
              fv_error_text(c));
        for (int i = 0; i < 2; i++)
            for (int k = 0; k < 3 && b.inputs == 4; k++) {
                int of = r.blind ? 1 - i : i, there = k < room[of].count, bed = k == 1, desk = k == 0;
                /* what is asked (and said of the situation) is the question's own, the room another's */
                float x = of ? -0.6f : -0.8f, y = of ? -0.8f : 0.6f, asked = (float)(i ? bed : desk);
                float said = i ? 0 : (float)bed, is[2] = {(float)bed, (float)desk};
                const float want[SEEN + 2] = {x, y,     0.3f, 1,    x,     y,    1,     2,
                                              3, -0.5f, 0,    0.5f, asked, said, is[0], is[1]};
                CHECK(((uint8_t *)b.input[3]->data)[3 * i + k] == there, "object %d of %d is there", k, i);
                for (int n = 0; n < F; n++) {
                    double got = fv_get(b.input[2], (3 * i + k) * F + n);
                    CHECK(fabs(got - (there ? (double)want[n] : 0)) < 1e-5,
                          "question %d, object %d, feature %d: %g, not %g", i, k, n, got, (double)want[n]);
                }
            }
    }
    fv_destroy(c);
}

int main(void) {
    RUN(texts);
    RUN(rooms);
    return REPORT();
}
