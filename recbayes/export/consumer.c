/* An export served from C: raw strings and numbers in, decisions out, by nothing but TensorFlow's C API.

   Build (T is the installed tensorflow package; recbayes.export.consumer does it):

       gcc -O2 consumer.c -I T/include -L T -l:libtensorflow_cc.so.2 -l:libtensorflow_framework.so.2 -Wl,-rpath,T -lpthread

   Use:  consumer EXPORT/1 [threads inside one call] < requests > answers

   `load` and `serve` are what a server needs: the names of the tensors of a signature's inputs and outputs stand in
   metadata.json beside the model. The rest reads requests from standard input and writes answers, so that a test can ask anything:

       request:  u32 inputs, {name, u32 type, u32 rank, i64 sizes.., data}.., u32 outputs, {name}.., u32 threads, u32 times a thread
       answer:   u32 status (0 is ok), message; if ok: u32 outputs, {u32 type, u32 rank, i64 sizes.., data}..,
                 u32 answers that differed from the first, then thread by thread f64 seconds of each call, f64 CPU seconds of each
       name, message, and each string of a tensor:  u32 length, bytes.  Other data: row-major, this machine's byte order. */

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "tensorflow/c/c_api.h"
#include "tensorflow/c/tf_tstring.h"

#define MOST 64 /* inputs or outputs of a signature */

typedef struct {
  TF_Graph* graph;
  TF_Session* session;
  TF_Status* status;
} Model;

typedef struct {
  int inputs, outputs, times, differing;
  TF_Output from[MOST], to[MOST];
  TF_Tensor *given[MOST], *first[MOST]; /* first: the answer that all others must equal */
  TF_Session* session;
  double *seconds, *busy; /* of each call: on the clock, and of the calling thread's CPU */
} Work;

/* ---- what a server needs ---- */

/* Loads a SavedModel; threads: how many one call may use, 0 for one a core. The tables are filled before it returns. */
static Model load(const char* folder, int threads) {
  Model model = {TF_NewGraph(), NULL, TF_NewStatus()};
  TF_SessionOptions* options = TF_NewSessionOptions();
  /* ConfigProto: intra_op_parallelism_threads; graph_options.rewrite_options.disable_meta_optimizer, as rewriting the graph takes two
     thirds of the load and no call is quicker for it */
  unsigned char config[] = {2 << 3, (unsigned char)threads, 10 << 3 | 2, 5, 10 << 3 | 2, 3, 0x98, 1, 1};
  TF_SetConfig(options, config, sizeof config, model.status);
  const char* tags[] = {"serve"};
  model.session = TF_LoadSessionFromSavedModel(options, NULL, folder, tags, 1, model.graph, NULL, model.status);
  TF_DeleteSessionOptions(options);
  return model;
}

/* One call. The caller frees the tensors in `answer`. It runs in the calling thread: handing small operations over takes longer. */
static void serve(const Work* work, TF_Tensor** answer, TF_Status* status) {
  static const unsigned char here[] = {3 << 3, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1}; /* RunOptions.inter_op_thread_pool: -1 */
  TF_Buffer options = {here, sizeof here, NULL};
  TF_SessionRun(work->session, &options, work->from, work->given, work->inputs, work->to, answer, work->outputs, NULL, 0, NULL, status);
}

/* "name:0" as TensorFlow wants it. */
static TF_Output find(TF_Graph* graph, const char* name) {
  char operation[1024];
  const char* colon = strrchr(name, ':');
  snprintf(operation, sizeof operation, "%.*s", (int)(colon ? colon - name : (long)strlen(name)), name);
  TF_Output found = {TF_GraphOperationByName(graph, operation), colon ? atoi(colon + 1) : 0};
  return found;
}

/* ---- requests and answers ---- */

static int take(void* to, size_t size) { return size == 0 || fread(to, size, 1, stdin) == 1; }

static uint32_t number(void) {
  uint32_t value = 0;
  return take(&value, sizeof value) ? value : 0;
}

static void give(const void* from, size_t size) {
  if (size) fwrite(from, size, 1, stdout);
}

static void give_number(uint32_t value) { give(&value, sizeof value); }

static char* text(uint32_t* size) {
  *size = number();
  char* bytes = malloc((size_t)*size + 1);
  if (!bytes || !take(bytes, *size)) exit(3);
  bytes[*size] = 0;
  return bytes;
}

static TF_Tensor* read_tensor(void) {
  TF_DataType type = (TF_DataType)number();
  int rank = (int)number();
  int64_t sizes[16], entries = 1;
  if (rank > 16 || !take(sizes, rank * sizeof *sizes)) exit(3);
  for (int i = 0; i < rank; i++) entries *= sizes[i];
  size_t each = type == TF_STRING ? sizeof(TF_TString) : TF_DataTypeSize(type);
  TF_Tensor* tensor = TF_AllocateTensor(type, sizes, rank, entries * each);
  if (type != TF_STRING) {
    if (!take(TF_TensorData(tensor), entries * each)) exit(3);
    return tensor;
  }
  TF_TString* strings = TF_TensorData(tensor);
  for (int64_t i = 0; i < entries; i++) {
    uint32_t size;
    char* bytes = text(&size);
    TF_StringInit(&strings[i]);
    TF_StringCopy(&strings[i], bytes, size);
    free(bytes);
  }
  return tensor;
}

static void free_given(TF_Tensor* tensor) {
  TF_TString* strings = TF_TensorData(tensor);
  int64_t entries = TF_TensorType(tensor) == TF_STRING ? TF_TensorElementCount(tensor) : 0;
  for (int64_t i = 0; i < entries; i++) TF_StringDealloc(&strings[i]);
  TF_DeleteTensor(tensor);
}

static void write_tensor(const TF_Tensor* tensor) {
  int rank = TF_NumDims(tensor);
  give_number(TF_TensorType(tensor));
  give_number(rank);
  for (int i = 0; i < rank; i++) {
    int64_t size = TF_Dim(tensor, i);
    give(&size, sizeof size);
  }
  give(TF_TensorData(tensor), TF_TensorByteSize(tensor)); /* no signature answers with strings */
}

static void fail(const char* message) {
  give_number(1);
  give_number(strlen(message));
  give(message, strlen(message));
}

static double now(clockid_t clock) {
  struct timespec time;
  clock_gettime(clock, &time);
  return time.tv_sec + 1e-9 * time.tv_nsec;
}

static void* repeat(void* given) {
  Work* work = given;
  TF_Status* status = TF_NewStatus();
  for (int i = 0; i < work->times; i++) {
    TF_Tensor* answer[MOST] = {NULL};
    double start = now(CLOCK_MONOTONIC), busy = now(CLOCK_THREAD_CPUTIME_ID);
    serve(work, answer, status);
    work->seconds[i] = now(CLOCK_MONOTONIC) - start;
    work->busy[i] = now(CLOCK_THREAD_CPUTIME_ID) - busy;
    int same = TF_GetCode(status) == TF_OK;
    for (int j = 0; j < work->outputs && same; j++)
      same = memcmp(TF_TensorData(answer[j]), TF_TensorData(work->first[j]), TF_TensorByteSize(answer[j])) == 0;
    work->differing += !same;
    for (int j = 0; j < work->outputs; j++) TF_DeleteTensor(answer[j]);
  }
  TF_DeleteStatus(status);
  return NULL;
}

/* The same request from several threads at once, after one answer that is given back. */
static void answer(Model* model, Work* work, int threads) {
  serve(work, work->first, model->status);
  if (TF_GetCode(model->status) != TF_OK) {
    fail(TF_Message(model->status));
    return;
  }
  Work* each = calloc(threads, sizeof *each);
  pthread_t* handles = calloc(threads, sizeof *handles);
  uint32_t differing = 0;
  for (int i = 0; i < threads; i++) {
    each[i] = *work;
    each[i].seconds = calloc(2 * work->times + 1, sizeof(double));
    each[i].busy = each[i].seconds + work->times;
    pthread_create(&handles[i], NULL, repeat, &each[i]);
  }
  for (int i = 0; i < threads; i++) pthread_join(handles[i], NULL);
  give_number(0);
  give_number(0);
  give_number(work->outputs);
  for (int i = 0; i < work->outputs; i++) write_tensor(work->first[i]);
  for (int i = 0; i < threads; i++) differing += each[i].differing;
  give_number(differing);
  for (int i = 0; i < threads; i++) give(each[i].seconds, 2 * work->times * sizeof(double));
  for (int i = 0; i < threads; i++) free(each[i].seconds);
  free(each);
  free(handles);
}

/* Reads one request and answers it. */
static void ask(Model* model, uint32_t inputs) {
  Work work = {.inputs = (int)inputs, .session = model->session};
  char missing[256] = "";
  uint32_t size;
  if (inputs > MOST) exit(3);
  for (int i = 0; i < work.inputs; i++) {
    char* name = text(&size);
    work.from[i] = find(model->graph, name);
    if (!work.from[i].oper) snprintf(missing, sizeof missing, "no tensor %s", name);
    free(name);
    work.given[i] = read_tensor();
  }
  work.outputs = (int)number();
  if (work.outputs > MOST) exit(3);
  for (int i = 0; i < work.outputs; i++) {
    char* name = text(&size);
    work.to[i] = find(model->graph, name);
    if (!work.to[i].oper) snprintf(missing, sizeof missing, "no tensor %s", name);
    free(name);
  }
  int threads = (int)number();
  work.times = (int)number();
  if (*missing) fail(missing);
  else answer(model, &work, threads);
  for (int i = 0; i < work.inputs; i++) free_given(work.given[i]);
  for (int i = 0; i < work.outputs; i++) TF_DeleteTensor(work.first[i]);
  fflush(stdout);
}

int main(int count, char** arguments) {
  if (count < 2) return fprintf(stderr, "consumer EXPORT/1 [threads] < requests > answers\n"), 2;
#ifdef __GLIBC__ /* memory of one call stays for the next: given back and taken anew, it makes click_rate of many rows slower by up to a tenth */
  mallopt(M_MMAP_THRESHOLD, 1 << 25);
  mallopt(M_TRIM_THRESHOLD, 1 << 28);
#endif
  double start = now(CLOCK_MONOTONIC), seconds;
  Model model = load(arguments[1], count > 2 ? atoi(arguments[2]) : 0);
  if (TF_GetCode(model.status) != TF_OK) return fprintf(stderr, "%s: %s\n", arguments[1], TF_Message(model.status)), 1;
  seconds = now(CLOCK_MONOTONIC) - start;
  give(&seconds, sizeof seconds); /* first of all: how long it took to load */
  fflush(stdout);
  for (uint32_t inputs; take(&inputs, sizeof inputs);) ask(&model, inputs);
  TF_CloseSession(model.session, model.status);
  TF_DeleteSession(model.session, model.status);
  TF_DeleteGraph(model.graph);
  TF_DeleteStatus(model.status);
  return 0;
}
