#define _GNU_SOURCE
#include "insight.h"
#include "data/folder.h"
#include "data/pictures.h"
#include "measures.h"
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *insight_place(int place) {
    static const char *const names[INSIGHT_PLACES] = {"last encoder block, after attention",
                                                      "before the stage", "after the LLM's attention",
                                                      "after the LLM's FFN", "after F2"};
    return names[place];
}

/* *to = x's numbers as f32 */
static void keep(insight *s, float **to, const fv_tensor *x, const void *data, fv_type type) {
    int64_t n = fv_numel(x);
    fv_free(s->c, *to);
    *to = (float *)fv_alloc(s->c, (size_t)n * sizeof **to);
    fv_tensor view = *x;
    view.data = (void *)(uintptr_t)data, view.type = type;
    for (int64_t i = 0; *to && i < n; i++) (*to)[i] = (float)fv_get(&view, i);
}
static void keep_tokens(insight *s, int place, const fv_tensor *x) {
    keep(s, &s->x[place], x, x->data, x->type);
    s->items = (int)x->dim[0], s->tokens = (int)x->dim[1], s->width[place] = (int)x->dim[2];
}
static void keep_scores(insight *s, int which, const fv_tensor *x) {
    keep(s, &s->scores[which], x, x->data, x->type);
    s->heads[which] = (int)x->dim[1];
}
static void look(void *user, const char *place, const fv_tensor *x) {
    insight *s = (insight *)user;
    int stage = !strncmp(place, "stage.", 6);
    if (x->grad) {
        if (!strcmp(place, "stage.input")) keep(s, &s->grad_in, x, x->grad, fv_grad_type(x));
        if (!strcmp(place, "stage.output")) keep(s, &s->grad_out, x, x->grad, fv_grad_type(x));
        return;
    }
    s->inside |= stage;
    if (!stage && s->inside) return; /* blocks behind the stage */
    const char *what = strchr(place, '.') + 1;
    if (!strcmp(what, "scores")) keep_scores(s, stage, x);
    else if (!strcmp(what, "attention")) keep_tokens(s, stage ? AT_ATTENTION : AT_BLOCK_ATTENTION, x);
    else if (!strcmp(what, "ffn")) keep_tokens(s, stage ? AT_FFN : AT_BEFORE, x);
    else if (!strcmp(what, "input")) keep_tokens(s, AT_BEFORE, x);
    else if (!strcmp(what, "output")) keep_tokens(s, AT_F2, x);
}

void insight_begin(fv_ctx *c, insight *s) {
    memset(s, 0, sizeof *s);
    s->c = c;
    fv_observe(c, look, s);
}
void insight_clear(insight *s) {
    for (int i = 0; i < INSIGHT_PLACES; i++) fv_free(s->c, s->x[i]), s->x[i] = NULL;
    for (int i = 0; i < INSIGHT_SCORES; i++) fv_free(s->c, s->scores[i]), s->scores[i] = NULL;
    fv_free(s->c, s->grad_in), fv_free(s->c, s->grad_out);
    s->grad_in = s->grad_out = NULL, s->inside = 0;
}
void insight_end(insight *s) {
    if (!s->c) return;
    fv_observe(s->c, NULL, NULL);
    insight_clear(s);
}

int insight_fits(run *r) {
    if (fv_error(r->c)) return 0;
    int vit = !strcmp(r->task->name, "image") && !strcmp(r->model->arch->name, "vit");
    if (vit && strcmp(value_of(&r->s, 'm', "class_token", "true"), "false")) return 1;
    return fv_fail(r->c, FV_EUSAGE,
                   "the run is of the task %s; this looks into vision transformers of the task "
                   "image that have a class token",
                   r->task->name);
}

void insight_class_row(const insight *s, int which, int item, double *out) {
    int N = s->tokens, H = s->heads[which];
    for (int k = 0; k + 1 < N; k++) out[k] = 0;
    for (int h = 0; h < H; h++)
        for (int k = 0; k + 1 < N; k++)
            out[k] +=
                (double)s
                    ->scores[which][((size_t)item * (size_t)H + (size_t)h) * (size_t)(N * N) + (size_t)k + 1];
}

/* ---- a run to look into ---- */
int viewer_open(viewer *w, const char *dir, int threads) {
    fv_desc desc;
    memset(&desc, 0, sizeof desc), desc.threads = threads;
    run_begin(&w->r, &desc);
    w->dir = dir, w->open = 1;
    fv_json *j = run_reopen(&w->r, dir, NULL);
    fv_json_free(w->r.c, j);
    if (!j || !insight_fits(&w->r)) return 0;
    fv_no_grad(w->r.c, 1);
    insight_begin(w->r.c, &w->s);
    return 1;
}
int viewer_size(const viewer *w) { return (int)number_of(&w->r.s, 'm', "img_size", 224); }
int viewer_channels(const viewer *w) { return (int)number_of(&w->r.s, 'm', "in_chans", 3); }
static int viewer_imagenet(const viewer *w) { return is_text(&w->r.s, 't', "normalize", "imagenet"); }
float viewer_crop(const viewer *w) { return (float)number_of(&w->r.s, 't', "crop_pct", 1); }
int viewer_patch(const viewer *w) { return (int)number_of(&w->r.s, 'm', "patch_size", 16); }
int viewer_look(viewer *w, const uint8_t *picture) {
    fv_ctx *c = w->r.c;
    int S = viewer_size(w), C = viewer_channels(w), imagenet = viewer_imagenet(w);
    int64_t dim[4] = {1, C, S, S};
    fv_reset(c);
    insight_clear(&w->s);
    fv_tensor *x = fv_new(c, FV_F32, 4, dim);
    for (int k = 0; x && k < C; k++)
        for (int i = 0; i < S * S; i++)
            fv_set(x, k * S * S + i, (double)picture_value(picture[i * C + k], k, imagenet));
    fv_model_forward(c, w->r.model, x);
    if (!fv_error(c) && w->s.tokens > MOST_TOKENS)
        fv_fail(c, FV_EUSAGE, "%d tokens; %d are drawn at most", w->s.tokens, MOST_TOKENS);
    return !fv_error(c);
}

/* DIR/CLASS/1.png or DIR/1.png for .../CLASS/1.png; 0: none is there */
static int mask_path(const char *dir, const char *image, char *path, size_t n) {
    const char *file = strrchr(image, '/'), *folder = file;
    while (folder && folder > image && folder[-1] != '/') folder--;
    if (folder) snprintf(path, n, "%s/%s", dir, folder);
    if (folder && !access(path, R_OK)) return 1;
    snprintf(path, n, "%s/%s", dir, file ? file + 1 : image);
    return !access(path, R_OK);
}
int viewer_truth(viewer *w, const char *file, const char *masks, uint8_t *truth) {
    int S = viewer_size(w), tokens = S / viewer_patch(w), any = 0;
    size_t n = (size_t)S * (size_t)S;
    char path[8500];
    if (!mask_path(masks, file, path, sizeof path))
        return fv_fail(w->r.c, FV_EUSAGE, "%s: no mask of that name in %s", file, masks);
    uint8_t *mask = (uint8_t *)fv_alloc(w->r.c, n);
    if (mask && picture_fit(w->r.c, path, S, viewer_crop(w), 1, mask)) {
        for (size_t i = 0; i < n; i++) mask[i] = mask[i] >= 128;
        mask_to_tokens(mask, S, viewer_patch(w), truth);
        for (int i = 0; i < tokens * tokens; i++) any |= truth[i];
    }
    fv_free(w->r.c, mask);
    return any;
}

/* ---- the pictures: files, or folders of them, or of folders of classes ---- */
static void add_file(fv_ctx *c, files *f, const char *path) {
    if (f->count == f->room) {
        int room = f->room ? 2 * f->room : 64;
        char(*at)[1024] = (char(*)[1024])fv_alloc(c, (size_t)room * sizeof *at);
        if (!at) return;
        if (f->count) memcpy(at, f->at, (size_t)f->count * sizeof *at);
        fv_free(c, f->at);
        f->at = at, f->room = room;
    }
    if (strlen(path) >= sizeof f->at[0]) fv_fail(c, FV_EUSAGE, "%.60s...: a path of over 1023 bytes", path);
    else strcpy(f->at[f->count++], path);
}
static void add_folder(fv_ctx *c, files *f, const char *dir, int deep) {
    char path[2200];
    for (int folders = 0; folders <= deep; folders++) {
        int n = 0;
        char **name = folder_list(c, dir, "", folders, &n);
        for (int i = 0; name && i < n; i++) {
            snprintf(path, sizeof path, "%.1100s/%.1000s", dir, name[i]);
            if (folders) add_folder(c, f, path, 0);
            else if (picture_named(name[i])) add_file(c, f, path);
        }
        fv_free(c, name);
    }
}
int files_list(fv_ctx *c, files *f, const char *const *words, int count) {
    struct stat st;
    for (int i = 0; i < count && !fv_error(c); i++) {
        if (!stat(words[i], &st) && S_ISDIR(st.st_mode)) add_folder(c, f, words[i], 1);
        else add_file(c, f, words[i]);
    }
    return fv_error(c) ? 0 : f->count ? 1 : fv_fail(c, FV_EUSAGE, "%s: no picture", words[0]);
}
