package camsearch.elasticsearch;

import java.util.Set;

import org.elasticsearch.features.FeatureSpecification;
import org.elasticsearch.features.NodeFeature;

/** Tells the cluster that this node has the plugin. */
public final class CamsearchFeatures implements FeatureSpecification {
    @Override
    public Set<NodeFeature> getFeatures() {
        return Set.of(CamsearchRetriever.FEATURE);
    }
}
