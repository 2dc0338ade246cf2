package camsearch.elasticsearch;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.function.Supplier;

import org.apache.lucene.search.ScoreDoc;
import org.apache.lucene.util.SetOnce;
import org.elasticsearch.index.query.AbstractQueryBuilder;
import org.elasticsearch.index.query.QueryBuilder;
import org.elasticsearch.index.query.QueryRewriteContext;
import org.elasticsearch.search.builder.SearchSourceBuilder;
import org.elasticsearch.search.fetch.StoredFieldsContext;
import org.elasticsearch.search.rank.RankDoc;
import org.elasticsearch.search.retriever.CompoundRetrieverBuilder;
import org.elasticsearch.search.retriever.RetrieverBuilder;
import org.elasticsearch.search.retriever.RetrieverParserContext;
import org.elasticsearch.search.vectors.KnnSearchBuilder;
import org.elasticsearch.search.vectors.KnnVectorQueryBuilder;
import org.elasticsearch.xcontent.ConstructingObjectParser;
import org.elasticsearch.xcontent.ObjectParser.ValueType;
import org.elasticsearch.xcontent.ParseField;
import org.elasticsearch.xcontent.XContentBuilder;
import org.elasticsearch.xcontent.XContentParser;

import static org.elasticsearch.xcontent.ConstructingObjectParser.constructorArg;
import static org.elasticsearch.xcontent.ConstructingObjectParser.optionalConstructorArg;

/** The retriever camsearch: the first hits of another one, compared with the query's image part by part. */
final class CamsearchRetriever extends CompoundRetrieverBuilder<CamsearchRetriever> {
    static final String NAME = "camsearch";

    private static final int WINDOW = 100;
    private static final int MAX_WINDOW = 1000;

    /** What JSON says, before it is known which image is compared. */
    private record Said(RetrieverBuilder retriever, Object image, Object box, Integer window, Object rerank, Object expand) {}

    private static final class Parsed {
        private final Said said;
        private List<QueryBuilder> filters = List.of();
        private String name;
        private Float minScore;

        Parsed(Said said) {
            this.said = said;
        }
    }

    private static final ConstructingObjectParser<Parsed, RetrieverParserContext> PARSER = new ConstructingObjectParser<>(
        NAME,
        args -> new Parsed(new Said((RetrieverBuilder) args[0], args[1], args[2], (Integer) args[3], args[4], args[5]))
    );

    static {
        PARSER.declareNamedObject(
            constructorArg(),
            (p, c, name) -> p.namedObject(RetrieverBuilder.class, name, c),
            new ParseField("retriever")
        );
        PARSER.declareObject(optionalConstructorArg(), (p, c) -> p.map(), new ParseField(QueryImage.IMAGE));
        PARSER.declareField(optionalConstructorArg(), (p, c) -> p.list(), new ParseField(QueryImage.BOX), ValueType.OBJECT_ARRAY);
        PARSER.declareInt(optionalConstructorArg(), RANK_WINDOW_SIZE_FIELD);
        for (String name : new String[] { "rerank", "expand" }) {
            PARSER.declareField(optionalConstructorArg(), (p, c) -> objectOrFlag(p), new ParseField(name), ValueType.OBJECT_OR_BOOLEAN);
        }
        // Not `declareBaseParserFields`, whose arguments differ between versions.
        PARSER.declareObjectArray(
            (parsed, filters) -> parsed.filters = filters,
            (p, c) -> AbstractQueryBuilder.parseTopLevelQuery(p, c::trackQueryUsage),
            PRE_FILTER_FIELD
        );
        PARSER.declareString((parsed, name) -> parsed.name = name, NAME_FIELD);
        PARSER.declareFloat((parsed, score) -> parsed.minScore = score, MIN_SCORE_FIELD);
    }

    private static Object objectOrFlag(XContentParser parser) throws IOException {
        return parser.currentToken() == XContentParser.Token.START_OBJECT ? parser.map() : (Object) parser.booleanValue();
    }

    private final RankedSearch.Plan plan;
    private final boolean byVectors;
    private final Supplier<float[]> query;

    private CamsearchRetriever(List<RetrieverSource> inner, RankedSearch.Plan plan, boolean byVectors, Supplier<float[]> query) {
        super(inner, plan.window());
        this.plan = plan;
        this.byVectors = byVectors;
        this.query = query;
    }

    /**
     * Reads a retriever.
     *
     * @param maxBytes of an image's file
     * @throws IllegalArgumentException it is not valid
     */
    static CamsearchRetriever parse(XContentParser parser, RetrieverParserContext context, long maxBytes, Supplier<Describer> describer)
        throws IOException {
        List<ImageVectorBuilder> images = new ArrayList<>();
        Parsed parsed = ImageVectorBuilder.noting(images, () -> PARSER.apply(parser, context));
        Said said = parsed.said;
        int window = said.window == null ? WINDOW : said.window;
        if (window < 1 || window > MAX_WINDOW) {
            throw new IllegalArgumentException(
                "[camsearch.rank_window_size] must be from 1 to " + MAX_WINDOW + ", not " + window + "."
            );
        }
        ImageVectorBuilder image = image(said, images, maxBytes, describer);
        Rerank rerank = Rerank.of(said.rerank == null ? true : said.rerank);
        var plan = new RankedSearch.Plan(image, window, rerank, Expand.of(said.expand == null ? false : said.expand));
        List<RetrieverSource> inner = new ArrayList<>(List.of(RetrieverSource.from(said.retriever)));
        var made = new CamsearchRetriever(inner, plan, images.size() == 1 && images.get(0).sameImage(image), null);
        made.preFilterQueryBuilders = new ArrayList<>(parsed.filters);
        made.retrieverName = parsed.name;
        made.minScore = parsed.minScore;
        return made;
    }

    private static ImageVectorBuilder image(Said said, List<ImageVectorBuilder> images, long maxBytes, Supplier<Describer> describer) {
        if (said.image != null) {
            var own = new ImageVectorBuilder(QueryImage.of(said.image, said.box, maxBytes), false, describer);
            return images.stream().filter(own::sameImage).findFirst().orElse(own);
        }
        if (said.box != null) {
            throw new IllegalArgumentException("[camsearch.box] needs [camsearch.image]: give the image it lies in.");
        }
        if (images.isEmpty() || images.stream().allMatch(images.get(0)::sameImage) == false) {
            String found = images.isEmpty() ? "no image" : "different images";
            throw new IllegalArgumentException(
                "[camsearch] must say what to look for, since its retriever has " + found + ": give it an [image]."
            );
        }
        return images.get(0);
    }

    private CamsearchRetriever with(List<RetrieverSource> inner, List<QueryBuilder> filters, Supplier<float[]> query) {
        var made = new CamsearchRetriever(inner, plan, byVectors, query);
        made.preFilterQueryBuilders = filters;
        made.retrieverName = retrieverName;
        made.minScore = minScore;
        return made;
    }

    @Override
    protected CamsearchRetriever clone(List<RetrieverSource> inner, List<QueryBuilder> filters) {
        return with(inner, filters, query);
    }

    @Override
    protected RankDoc[] combineInnerRetrieverResults(List<ScoreDoc[]> results, boolean explain) {
        throw new IllegalStateException("doRewrite runs the searches of the inner retriever");
    }

    /** One step each time it is called: the vector, the filters, the inner retriever, then all searches. */
    @Override
    protected RetrieverBuilder doRewrite(QueryRewriteContext context) {
        try {
            if (query == null) {
                return described(context);
            }
            var filters = rewritePreFilters(context);
            if (filters != preFilterQueryBuilders) {
                return clone(innerRetrievers, filters);
            }
            RetrieverBuilder inner = innerRetrievers.get(0).retriever();
            if (inner.isCompound() && filters.isEmpty() == false) {
                inner.getPreFilterQueryBuilders().addAll(filters);
            }
            RetrieverBuilder rewritten = inner.rewrite(context);
            return rewritten == inner ? searched(context, inner) : clone(List.of(RetrieverSource.from(rewritten)), filters);
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    private CamsearchRetriever described(QueryRewriteContext context) {
        SetOnce<float[]> vector = new SetOnce<>();
        context.registerAsyncAction((client, listener) -> plan.image().describe(client, listener.delegateFailureAndWrap((l, unit) -> {
            vector.set(unit);
            l.onResponse(null);
        })));
        return with(innerRetrievers, preFilterQueryBuilders, vector::get);
    }

    private RankedRetriever searched(QueryRewriteContext context, RetrieverBuilder inner) {
        var pit = context.getPointInTimeBuilder();
        SearchSourceBuilder first = createSearchSourceBuilder(pit, inner).fetchSource(false);
        first.storedFields(StoredFieldsContext.fromList(List.of())); // ids
        boolean cosines = byVectors && comparable(first);
        if (plan.expand() != null) {
            if (cosines == false || first.knnSearch().isEmpty()) {
                throw new IllegalArgumentException(
                    "[camsearch.expand] needs a [knn] retriever with the image, and nothing else, to search again."
                );
            }
            first.size(Math.max(plan.window(), Math.max(plan.expand().hits(), Expansion.GRAPH_HITS)));
        }
        SetOnce<RankedRetriever.Ranked> ranked = new SetOnce<>();
        context.registerAsyncAction((client, listener) -> {
            plan.image().describer().checkNodes();
            IndexMethod method = plan.image().describer().method(Describer.searched(client));
            var search = new RankedSearch(client, pit, planFor(method), method, query.get(), first, cosines);
            search.run(inner::setRankDocs, listener.delegateFailureAndWrap((l, result) -> {
                ranked.set(result);
                l.onResponse(null);
            }));
        });
        var last = new RankedRetriever(rankWindowSize, inner, ranked::get, minScore);
        last.retrieverName(retrieverName());
        return last;
    }

    /** @throws IllegalArgumentException it does not go with the method */
    private RankedSearch.Plan planFor(IndexMethod method) {
        Rerank rerank = plan.rerank() == null ? null : plan.rerank().in(method);
        if (rerank != null && rerank.byWindows() == false && plan.expand() != null) {
            throw new IllegalArgumentException(
                "[camsearch.expand] goes with windows, or without re-ranking, not with maps and images: leave it out, "
                    + "or search through `camsearch serve`."
            );
        }
        return new RankedSearch.Plan(plan.image(), plan.window(), rerank, plan.expand());
    }

    /** Whether Elasticsearch's scores are cosines: one knn and nothing else. */
    private static boolean comparable(SearchSourceBuilder first) {
        List<KnnSearchBuilder> knn = first.knnSearch();
        if (first.query() != null) {
            return knn.isEmpty() && first.query() instanceof KnnVectorQueryBuilder && first.query().boost() == 1;
        }
        return knn.size() == 1 && knn.get(0).boost() == 1;
    }

    @Override
    public String getName() {
        return NAME;
    }

    @Override
    protected void doToXContent(XContentBuilder builder, Params params) throws IOException {
        builder.field("retriever", innerRetrievers.get(0).retriever());
        plan.image().image().toXContent(builder, params);
        builder.field(RANK_WINDOW_SIZE_FIELD.getPreferredName(), rankWindowSize);
        Rerank rerank = plan.rerank();
        if (rerank == null) {
            builder.field("rerank", false);
        } else if (rerank.by() != null) {
            builder.startObject("rerank").field("by", rerank.by());
            if (rerank.classes() != null) {
                builder.field("classes", rerank.classes());
            }
            builder.endObject();
        }
        if (plan.expand() != null) {
            builder.startObject("expand").field("hits", plan.expand().hits()).field("alpha", plan.expand().alpha()).endObject();
        }
    }

    @Override
    public boolean doEquals(Object other) {
        return super.doEquals(other) && plan.equals(((CamsearchRetriever) other).plan);
    }

    @Override
    public int doHashCode() {
        return Objects.hash(super.doHashCode(), plan);
    }
}
